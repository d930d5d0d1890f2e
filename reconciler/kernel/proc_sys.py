"""Kernel parameters where /proc/sys is read-only: in a container without all privileges.

The host's /proc/sys/net is mounted somewhere else there (runc refuses a mount inside /proc), and what
`sysctl -w` would write is written to the same file of that one. It shows the parameters of the network
namespace of whoever opens a file, as /proc/sys does (proc_sys(5), network_namespaces(7)).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence

from reconciler.kinds.sysctl import path_of

ELSEWHERE = "PLUMBLINE_PROC_SYS"  # environment: the folder that stands for /proc/sys when parameters are written


def elsewhere() -> str:
    """The folder that stands for /proc/sys; empty where that one does."""
    return os.environ.get(ELSEWHERE, "").rstrip("/")


def write(
    run: Callable[..., subprocess.CompletedProcess[str]], folder: str, words: Sequence[str], *, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """What `sysctl -w NAME=VALUE` does, below the folder; `run` starts a tool in the namespace that is meant."""
    name, equals, value = words[-1].partition("=")
    path = path_of(name)
    if tuple(words[:-1]) != ("sysctl", "-w") or not equals or path is None:
        return run(words, stdin=stdin)
    return run(("tee", folder + path.removeprefix("/proc/sys")), stdin=f"{value}\n")
