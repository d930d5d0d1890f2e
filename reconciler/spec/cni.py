"""`cni:` the file by which the container runtime connects pods, and the plugin of ours in it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from reconciler.spec.section import Section
from reconciler.spec.values import ConflistName, Folder, InterfaceName, WrittenFolder

LONGEST = 100  # seconds; the plugin gives up at two minutes, kubelets at four
_SECONDS = re.compile(r"([1-9][0-9]{0,2})s")


def _wait(value: str) -> str:
    match = _SECONDS.fullmatch(value)
    if match is None or int(match[1]) > LONGEST:
        raise ValueError(f"{value!r} is no time to wait for a pod's network; allowed: 1s to {LONGEST}s")
    return value


class Cni(Section):
    """The file that tells the container runtime how to connect pods."""

    file: ConflistName = "10-plumbline.conflist"
    conf_dir: WrittenFolder = "/etc/cni/net.d"
    bin_dir: Folder = "/opt/cni/bin"
    bridge: InterfaceName = "cni0"
    name: str = "plumbline"
    cni_version: Literal["0.4.0", "1.0.0", "1.1.0"] = "1.0.0"  # what old runtimes know too; STATUS and GC came with 1.1.0
    chained: bool = False  # pods wait for their segments; never by itself: where the plugin is not on the node, no pod starts
    wait: Annotated[str, AfterValidator(_wait)] = "10s"  # how long one try to start a pod is held up at most

    @property
    def patience(self) -> float:
        """`wait` in seconds."""
        return float(self.wait.removesuffix("s"))
