"""Tools that misbehave: stubs in a folder of the test's own, first on PATH, that spoil what writes and pass on what reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from reconciler.kernel.node import KernelNode
from tests.faults.strike import Fault, Site, Strike

HANGS_AFTER = 0.4  # seconds that a tool may take; a real one on a busy machine takes some hundredths

# Which kinds' rows each tool writes, and what it is asked when it writes.
WRITES = {
    "ip": frozenset({"link", "address", "neighbour", "nexthop", "route"}),
    "bridge": frozenset({"fdb"}),
    "nft": frozenset({"nft"}),
    "sysctl": frozenset({"sysctl"}),
    "mv": frozenset({"file"}),
    "rm": frozenset({"file"}),
}
_BATCHES = ("ip", "bridge")
_REFUSED = {  # a line that the kernel refuses
    "ip": "addr add ::1/128 dev lo",
    "bridge": "fdb add 02:00:00:00:00:01 dev lo master",
    "nft": "add rule ip nosuch nosuch accept",
    "sysctl": "-w net.ipv4.ip_forward=refused",
    "mv": "-T /proc/nosuch /proc/neither",
    "rm": "-- /proc/nosuch",
}
_STUB = """\
#!/bin/sh
case "$*" in
  *-batch*|'-f -'|-w*|-T*|--*) ;;
  *) exec {real} "$@" ;;
esac
echo >> {uses}
{does}
"""


def _does(tool: str, how: str) -> str:
    """The stub's last lines."""
    real = shutil.which(tool)
    refused = _REFUSED[tool]
    if how == "refuses":
        if tool in _BATCHES:
            return f"{{ echo '{refused}'; tail -n +2; }} | {real} \"$@\""
        return f"{{ cat; echo '{refused}'; }} | {real} \"$@\"" if tool == "nft" else f"exec {real} {refused}"
    if how == "does nothing":
        return f'tail -n 1 | {real} "$@"' if tool in _BATCHES else "exit 0"
    half = f'said=$(cat); printf "%s\\n" "$said" | head -n $(($(printf "%s\\n" "$said" | wc -l) / 2)) | {real} "$@"'
    done = half if tool in _BATCHES else f'{real} "$@"'
    if how == "hangs":
        return f"{done}\nexec sleep 600"
    return f"{done}\nexit {how.rpartition(' ')[2]}"


@contextmanager
def misbehaving(tool: str, how: str, site: Site) -> Iterator[Strike]:
    """For as long as this lasts, `tool` writes as badly as `how` says."""
    uses = site.folder / "uses"
    uses.touch()
    stubs = site.folder / "stubs"
    stubs.mkdir()
    stub = stubs / tool
    stub.write_text(_STUB.format(real=shutil.which(tool), uses=uses, does=_does(tool, how)))
    stub.chmod(0o755)
    node = KernelNode(timeout=HANGS_AFTER) if how == "hangs" else KernelNode()
    with _path(f"{stubs}:{os.environ['PATH']}"):
        yield Strike(node, lambda result: len(uses.read_text().splitlines()))
    node.close()


class _Asking(KernelNode):
    """Counts the lines that it is given for one tool."""

    def __init__(self, tool: str) -> None:
        super().__init__()
        self._tool, self.asked = tool, 0

    def run(self, actions):  # type: ignore[no-untyped-def]
        self.asked += sum(line.words.split(" ", 1)[0] == self._tool for action in actions for line in action.lines)
        return super().run(actions)

    def tool(self, netns, words):  # type: ignore[no-untyped-def]
        self.asked += words[0] == self._tool
        return super().tool(netns, words)


@contextmanager
def missing(tool: str, site: Site) -> Iterator[Strike]:
    """For as long as this lasts, `tool` is not installed."""
    tools = site.folder / "tools"
    tools.mkdir()
    for name in {"ip", "bridge", "nft", "sysctl", "mv", "rm", "stat", "sh"} - {tool}:
        (tools / name).symlink_to(str(shutil.which(name)))
    node = _Asking(tool)
    with _path(str(tools)):
        assert shutil.which(tool) is None
        yield Strike(node, lambda result: node.asked)
    node.close()


@contextmanager
def _path(path: str) -> Iterator[None]:
    before = os.environ["PATH"]
    os.environ["PATH"] = path
    try:
        yield
    finally:
        os.environ["PATH"] = before


HOW = {
    "command refused by the kernel": "refuses",
    "update without effect": "does nothing",
    "tool ends in the middle, exit 0": "ends 0",
    "tool ends in the middle, exit 1": "ends 1",
    "tool ends in the middle, exit 255": "ends 255",
    "tool hangs": "hangs",
}

_WRITTEN = ("cold start", "vxlan changes in place", "settings change")  # files; those that go are removed by rm

FAULTS = (
    *(
        Fault(f"{name}: {tool}", partial(misbehaving, tool, how), meets)
        for tool, meets in WRITES.items()
        if meets != {"file"}
        for name, how in HOW.items()
    ),
    *(Fault(f"{name}: mv", partial(misbehaving, "mv", how), scenarios=_WRITTEN) for name, how in HOW.items()),
    *(Fault(f"{name}: rm", partial(misbehaving, "rm", how), scenarios=("cleanup",)) for name, how in HOW.items()),
    *(Fault(f"tool missing: {tool}", partial(missing, tool), WRITES[tool]) for tool in ("ip", "bridge", "sysctl")),
    Fault("tool missing: mv", partial(missing, "mv"), scenarios=_WRITTEN),
    Fault("tool missing: rm", partial(missing, "rm"), scenarios=("cleanup",)),
    Fault("tool missing: nft", partial(missing, "nft")),  # these two are asked in every observation
    Fault("tool missing: stat", partial(missing, "stat")),
)
