"""One daemon, edited and broken for a long time: its memory, descriptors and threads stay, and so does the node.

`make soak` does some thousands; `make test` enough to see what leaks with every round. What the first third added
is warm-up; the rest must add nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from reconciler.lab.configmap import ConfigMapFolder
from tests.namespaces import sh
from tests.process import Figures, Process, daemon
from tests.soak.breakages import Breakages
from tests.soak.content import Content

pytestmark = pytest.mark.kernel

ACTS = int(os.environ.get("PLUMBLINE_SOAK", "180"))  # edits and breakages
SEED = int(os.environ.get("PLUMBLINE_SEED", "94"))
GROWTH = 3 << 20  # bytes that the resident memory may differ by: pages that the allocator keeps


class Soak:
    """A node, what it should hold, and what is done to it."""

    def __init__(self, process: Process, folder: ConfigMapFolder, chance: Random) -> None:
        self._process, self._folder, self._chance = process, folder, chance
        self._content, self._breakages = Content(chance), Breakages(chance)
        self.done = Counter[str]()

    def start(self) -> None:
        self._folder.swap(self._content.text)

    def act(self) -> None:
        """One edit or breakage, and wait until the daemon has answered it."""
        rounds = self._process.status["rounds"]
        what = self._act()
        self.done[what] += 1
        self._process.until(lambda: (said := self._process.status)["rounds"] > rounds and (said["converged"] or what == "a mistake"))

    def _act(self) -> str:
        share = self._chance.random()
        if share < 0.25:
            return self._edit()
        if share < 0.28:
            self._folder.swap(self._content.broken())
            return "a mistake"
        if share < 0.32:
            self._folder.swap(self._content.text)
            self._process.hang_up()
            return "the same again"
        return self._breakages.one() or self._edit()

    def _edit(self) -> str:
        what = self._content.edit()
        self._folder.swap(self._content.text)
        return what

    @property
    def resident(self) -> int:
        return self._process.figures().resident

    def settle(self) -> None:
        """The last good content in place, and the node as it says."""
        self._folder.swap(self._content.text)
        digest = sha256(self._content.text.encode()).hexdigest()
        self._process.until(lambda: (said := self._process.status)["ready"] and said["spec"]["digest"] == digest)
        rounds = self._process.status["rounds"]
        self._process.hang_up()
        self._process.until(lambda: (said := self._process.status)["rounds"] > rounds and "hangup" in said["lastRound"]["triggers"])
        assert self._process.status["lastRound"]["actions"] == 0, self._process.status

    def at_rest(self, most: Figures | None = None) -> Figures:
        """What the process holds once the threads of our last requests have ended: at most so many, or the same twice."""
        seen = [self._process.figures()]

        def quiet() -> bool:
            seen.append(self._process.figures())
            threads, descriptors = (most or seen[-2])[2:]
            return seen[-1].threads <= threads and seen[-1].descriptors <= descriptors

        try:
            self._process.until(quiet, every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{most} → {seen[-1]}") from error
        return seen[-1]


@pytest.fixture
def soak(netns: str, tmp_path: Path) -> Iterator[Soak]:
    sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.0.1/8 dev eth0")
    sh("ip route add default via 10.0.0.254")
    folder = ConfigMapFolder(tmp_path / "config")
    chance = Random(SEED)  # noqa: S311 (no secret)
    with daemon(tmp_path, folder.folder, node="n0") as process:
        made = Soak(process, folder, chance)
        made.start()
        process.until(lambda: process.ready)
        yield made


def test_nothing_piles_up(soak: Soak, record_property: Callable[[str, object], None]) -> None:
    for _ in range(ACTS // 3):
        soak.act()
    soak.settle()
    before = soak.at_rest()
    held = []
    for number in range(ACTS - ACTS // 3):
        soak.act()
        if number % (ACTS // 10) == 0:
            held.append(f"{soak.resident / (1 << 20):.1f}")
    soak.settle()
    after = soak.at_rest(before)
    said = f"{ACTS} acts {dict(soak.done)}: {before} → {after}; MiB on the way {', '.join(held)}"
    record_property("soak", said)
    print(said)
    assert after.resident - before.resident < GROWTH, said
