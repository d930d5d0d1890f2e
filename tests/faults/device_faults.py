"""Somebody who acts while a plan runs: devices that vanish, change hands, names or numbers, pods that die, another writer.

Always between plumbline's last look at what it is about to write to and its look before that:
the moment between its last look and its line belongs to nobody.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import ndiff
from functools import partial

from reconciler.engine.model import Action
from reconciler.engine.reader import Dump
from reconciler.engine.round import Failure
from reconciler.kernel.node import KernelNode
from reconciler.kinds.fdb import entry
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from reconciler.kinds.route import route
from tests.faults.engine import engine
from tests.faults.scenarios import MANY, steady
from tests.faults.strike import Fault, Site, Strike
from tests.namespaces import sh
from tests.safety.node import nothing, scope

_numbers = itertools.count()


class Meddled(KernelNode):
    """A node on which somebody does something once.

    word: behind the first lines that have it; "": behind the first observation; "#6": before the sixth dump of that.
    """

    def __init__(self, act: Callable[[], None], word: str) -> None:
        super().__init__()
        self._act, self._word = act, word
        self._before = int(word[1:]) if word.startswith("#") else 0
        self.acted = self._observed = False

    def names(self, path: str) -> tuple[str, ...]:
        self._observed = True  # files are looked at last
        return super().names(path)

    def dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        self._before -= 1
        if (self._observed and not self._word) or self._before == 0:
            self._once()
        return super().dump(netns, request)

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        done = super().run(actions)
        if self._word and any(self._word in str(line) for action in actions for line in action.lines):
            self._once()
        return done

    def _once(self) -> None:
        if not self.acted:
            self.acted = True
            self._act()


_NUMBER = "N=$(ip -o link show plumb0 | cut -d: -f1); ip link del plumb0"
_FURNISHED = (
    "ip link set {0} up; ip addr add 172.29.0.1/24 dev {0}; ip neigh replace 172.29.0.9 lladdr 02:99:00:00:00:19 dev {0} nud permanent; "
    "ip route add 10.97.0.0/16 via 172.29.0.2 dev {0} onlink; bridge fdb add 02:99:00:00:00:29 dev {0} {1}"
)
_BRIDGE, _VXLAN = "master permanent", "dst 10.0.1.97 self permanent"

DOES = {
    "device vanishes": "ip link del plumb0",
    "device replaced by a foreign bridge": f"ip link del plumb0; ip link add plumb0 type bridge; {_FURNISHED.format('plumb0', 'self permanent')}",
    "device replaced by a foreign vxlan of our VNI": "ip link del plumb0; ip link add plumb0 type vxlan id 4096 dstport 4789 local 10.0.1.11; "
    + _FURNISHED.format("plumb0", _VXLAN),
    "device renamed": "ip link set plumb0 down; ip link set plumb0 name was0; ip link set was0 up",
    "interface index reused, same name": f"{_NUMBER}; ip link add plumb0 index $N type vxlan id 9 dstport 9 local 10.0.1.11; "
    + _FURNISHED.format("plumb0", _VXLAN),
    "interface index reused, other name": f"{_NUMBER}; ip link add other0 index $N type vxlan id 9 dstport 9 local 10.0.1.11; "
    + _FURNISHED.format("other0", _VXLAN),
}


_MIDDLE = {"cold start": "link add", "vxlan is made anew": "link add"}  # before that there is no device


def _look(device: str) -> str:
    look = "ip -d -o link show {0} group 0; ip -o -4 addr show {0}; bridge fdb show dev {0}; ip neigh show dev {0} nud permanent; ip route show dev {0}"
    return "\n".join(line for line in steady(sh(look.format(device))).splitlines() if not line.startswith(("33:33:", "01:00:5e:")))


@contextmanager
def meddling(script: str, word: str, site: Site) -> Iterator[Strike]:
    """For as long as this lasts, whoever runs `script` at that moment has a device of their own."""
    device = next((name for name in ("plumb0", "other0") if f"link add {name}" in script), "")
    looks: list[str] = []

    def act() -> None:
        sh(script)
        if device:
            looks.append(_look(device))

    def theirs() -> str:
        if not device:
            return ""
        before, now = looks[0].split(), _look(device).split()
        return " ".join(word for word in ndiff(before, now) if not word.startswith(" "))

    node = Meddled(act, _MIDDLE.get(site.scenario.name, word) if word == "plumb0" else word)
    yield Strike(node, lambda result: node.acted, theirs)
    node.close()
    if device == "plumb0":
        sh("ip link del plumb0")


@contextmanager
def pod_dies(word: str, site: Site) -> Iterator[Strike]:
    """A pod in whose namespace rows are wanted goes, and its namespace with it."""
    pod = f"plt-pod-{os.getpid()}-{next(_numbers)}"
    sh(f"ip netns add {pod}")
    vxlan = Link(
        LinkKey(pod, "vx0"),
        "vxlan",
        GROUP,
        "plumbline:test",
        "02:00:00:00:00:01",
        1400,
        True,
        info=Vxlan(id=7, dstport=4789, learning=False),
    )
    rows = (vxlan, entry(pod, "vx0", "02:00:00:00:00:02", "10.0.1.2"), route(pod, "10.96.0.0/16", dev="vx0"))
    node = Meddled(lambda: void(sh(f"ip netns del {pod}")), word.format(pod=pod))
    yield Strike(node, lambda result: node.acted, also=rows)
    node.close()


@contextmanager
def second_writer(text: str | None, word: str, site: Site) -> Iterator[Strike]:
    """Another plumbline applies something, whole, while ours is at work. text: its network.yaml; None: what ours does."""

    def act() -> None:
        root = str(site.root)
        wanted = site.scenario.scope(site.root) if text is None else (scope(text, root=root) if text else nothing(root))
        other = KernelNode()
        engine(other).converge(wanted)
        other.close()

    node = Meddled(act, word)
    yield Strike(node, lambda result: node.acted)
    node.close()


def void(value: object) -> None:
    """An expression as a statement."""


_TOUCHES = (MANY, "a peer joins", "vxlan changes in place", "vxlan is made anew", "drift is repaired")
_HOLDS = ("a peer leaves", "cleanup", *_TOUCHES)

FAULTS = (
    *(Fault(f"{name}, before the first line", partial(meddling, script, ""), scenarios=_HOLDS) for name, script in DOES.items()),
    *(
        Fault(f"{name}, in the middle", partial(meddling, script, "plumb0"), scenarios=("cold start", *_TOUCHES))
        for name, script in DOES.items()
    ),
    *(
        Fault(f"{name}, between two dumps ({number})", partial(meddling, script, f"#{number}"), scenarios=_HOLDS)
        for name, script in DOES.items()
        if "reused" in name
        for number in (6, 8)
    ),
    Fault("namespace removed, before the first line", partial(pod_dies, "")),
    Fault("namespace removed, in the middle", partial(pod_dies, "-n {pod} link")),
    Fault("two writers of the same, before the first line", partial(second_writer, None, "")),
    Fault("two writers of the same, in the middle", partial(second_writer, None, " ")),
    Fault("a second writer cleans up, before the first line", partial(second_writer, "", "")),
    Fault("a second writer cleans up, in the middle", partial(second_writer, "", " ")),
)
