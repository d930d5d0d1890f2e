"""How long a row stays broken: a running daemon, single rows of mixed kinds broken by hand, the kernel's events as the clock.

python -m tests.bench.repairs [NODES [BREAKAGES]]: from the kernel's event of the breakage to its event of the repair,
p50, p95 and p99, beside what a person needs who has the line ready: one process of `ip -batch` with that single line.
"""

from __future__ import annotations

import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from reconciler.kernel.events import Event, EventSocket
from reconciler.kinds import all_kinds
from tests.bench.clusters import host, write
from tests.namespaces import fresh_namespace, sh
from tests.process import Process, daemon

NODES, BREAKAGES = 1_000, 200
LINKS = 8  # times that the one device is changed: more within a minute is a fight
DEVICE = "plumb0"


class Breakage(NamedTuple):
    """One line that breaks one row, and how the kernel tells that it is whole again."""

    what: str
    tool: str
    line: str
    repaired: Callable[[Event], bool]
    by_hand: str = ""  # the line that repairs it


def rows() -> Iterator[Breakage]:
    """A breakage for every row, in turns of their kinds; no row twice."""
    fdb = [line.split() for line in sh(f"bridge fdb show dev {DEVICE}").splitlines() if " dst " in line]
    neighbours = [line.split() for line in sh(f"ip -4 neigh show dev {DEVICE} nud permanent").splitlines()]
    routes = [line.split() for line in sh("ip route show proto 94").splitlines() if " nhid " in line]
    elements = sorted({words[2] for words in fdb})
    ways = (
        (_fdb_gone(words) for words in fdb[0::4]),
        (_fdb_changed(words) for words in fdb[1::4]),
        (_stranger(number) for number in range(len(fdb))),
        (_neighbour_gone(words) for words in neighbours[0::2]),
        (_neighbour_changed(words) for words in neighbours[1::2]),
        (_route_gone(words) for words in routes[0::3]),
        (_route_changed(words) for words in routes[1::3]),
        (_nexthop_gone(words) for words in routes[2::3]),
        (_mtu(number) for number in range(LINKS)),
        (_element(address) for address in elements[3::4]),
    )
    return (one for one in chain.from_iterable(zip_longest(*ways)) if one is not None)


def _is(what: str, key: str, *, gone: bool = False) -> Callable[[Event], bool]:
    return lambda event: event.what == what and event.key == key and event.gone is gone and event.lasting


def _fdb_gone(words: list[str]) -> Breakage:
    entry = f"{words[0]} dev {DEVICE} dst {words[2]} self"
    return Breakage("fdb gone", "bridge", f"fdb del {entry}", _is("fdb", words[0]), f"fdb replace {entry} permanent")


def _fdb_changed(words: list[str]) -> Breakage:
    return Breakage("fdb changed", "bridge", f"fdb replace {words[0]} dev {DEVICE} dst 10.9.9.9 self permanent", _is("fdb", words[0]))


def _stranger(number: int) -> Breakage:
    mac = f"02:99:00:00:{number >> 8:02x}:{number & 255:02x}"
    return Breakage(
        "foreign fdb", "bridge", f"fdb append {mac} dev {DEVICE} dst 10.9.9.9 self permanent", _is("fdb", mac, gone=True)
    )  # fmt: skip


def _neighbour_gone(words: list[str]) -> Breakage:
    by_hand = f"neigh replace {words[0]} lladdr {words[2]} dev {DEVICE} nud permanent protocol 94"
    return Breakage("neighbour gone", "ip", f"neigh del {words[0]} dev {DEVICE}", _is("neighbour", words[0]), by_hand)


def _neighbour_changed(words: list[str]) -> Breakage:
    line = f"neigh replace {words[0]} lladdr 02:00:00:00:00:99 dev {DEVICE} nud permanent"
    return Breakage("neighbour changed", "ip", line, _is("neighbour", words[0]))


def _route_gone(words: list[str]) -> Breakage:
    by_hand = f"route add {words[0]} nhid {words[2]} proto 94"
    return Breakage("route gone", "ip", f"route del {words[0]}", _is("route", words[0]), by_hand)


def _route_changed(words: list[str]) -> Breakage:
    return Breakage("route changed", "ip", f"route replace {words[0]} nhid {words[2]} proto 94 mtu 1300", _is("route", words[0]))


def _nexthop_gone(words: list[str]) -> Breakage:
    return Breakage("nexthop and its route gone", "ip", f"nexthop del id {words[2]}", _is("route", words[0]))


def _mtu(number: int) -> Breakage:
    return Breakage(
        "link changed", "ip", f"link set {DEVICE} mtu {1300 + number}", lambda event: event.what == "link" and event.name == DEVICE
    )


def _element(address: str) -> Breakage:
    line = f"delete element inet plumbline-overlay nodes {{ {address} }}"
    return Breakage("nft element gone", "nft", line, lambda event: event.what == "nft_element" and not event.gone)


class Hands:
    """Somebody with a shell open: tools that are already running, so that a breakage takes no time to type."""

    def __init__(self) -> None:
        self._tools = {
            tool: subprocess.Popen([tool, "-force", "-batch", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            for tool in ("ip", "bridge")
        }

    def do(self, tool: str, line: str) -> None:
        if tool == "nft":
            sh(f"nft '{line}'")
            return
        stdin = self._tools[tool].stdin
        assert stdin is not None
        stdin.write(f"{line}\n")
        stdin.flush()

    def close(self) -> None:
        for process in self._tools.values():
            process.communicate()


class Clock:
    """The kernel's events, each with the time at which it came."""

    def __init__(self) -> None:
        self._events = EventSocket(group for kind in all_kinds().values() for group in kind.events)

    def heard(self, seconds: float) -> list[tuple[float, Event]]:
        found: list[tuple[float, Event]] = []
        if select.select([self._events], [], [], seconds)[0]:
            now = time.perf_counter()
            self._events.read(lambda event: found.append((now, event)) or False)
        return found

    def measure(self, breakage: Breakage, hands: Hands) -> float:
        """Seconds from the first event of the breakage to the one that tells of the repair."""
        self._events.discard()
        hands.do(breakage.tool, breakage.line)
        broken: float | None = None
        end = time.perf_counter() + 10
        while (now := time.perf_counter()) < end:
            for at, event in self.heard(end - now):
                if broken is None:
                    broken = at
                elif at > broken and breakage.repaired(event):
                    return at - broken
        raise AssertionError(f"{breakage.line}: not repaired within 10 s")

    def close(self) -> None:
        self._events.close()


def bare(hands: Hands, clock: Clock, breakages: list[Breakage]) -> float:
    """Seconds of one process that repairs one row: the median. Nobody else repairs meanwhile."""
    taken = []
    for one in breakages:
        clock.heard(0)
        hands.do(one.tool, one.line)
        assert clock.heard(10), f"{one.line}: no event"
        start = time.perf_counter()
        subprocess.run([one.tool, "-batch", "-"], input=f"{one.by_hand}\n", text=True, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def broken_and_repaired(process: Process, hands: Hands, clock: Clock, count: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    for breakage, _ in zip(rows(), range(count), strict=False):
        before = process.status["drift"]["repaired"]
        taken.setdefault(breakage.what, []).append(clock.measure(breakage, hands))
        process.until(lambda before=before: (said := process.status)["converged"] and said["drift"]["repaired"] > before, every=0.05)  # type: ignore[misc]
    return taken


def measure(nodes: int, count: int, folder: Path) -> None:
    files = write(folder, nodes)
    with fresh_namespace():
        host()
        hands, clock = Hands(), Clock()
        with daemon(folder, files.spec, files.facts, node="n0") as process:
            process.until(lambda: process.ready, 60)
            before = process.seconds()
            taken = broken_and_repaired(process, hands, clock, count)
            busy = (process.seconds() - before) / count
            assert not process.status["fights"], process.status["fights"]
        floor = bare(hands, clock, [one for one in rows() if one.by_hand][:50])
        hands.close()
        clock.close()
    everything = sorted(chain.from_iterable(taken.values()))
    cuts = statistics.quantiles(everything, n=100, method="inclusive")
    said = " · ".join(f"{name} {cuts[at] * 1000:.0f} ms (× {cuts[at] / floor:.1f})" for name, at in (("p50", 49), ("p95", 94), ("p99", 98)))
    print(
        f"{nodes:>6} nodes, {len(everything)} rows broken: one bare process 1.00 (= {floor * 1000:.1f} ms) · {said} · "
        f"worst {everything[-1] * 1000:.0f} ms · processor time for each {busy * 1000:.0f} ms"
    )
    for what, times in taken.items():
        print(
            f"         {what:<28} {len(times):>4} × median {statistics.median(times) * 1000:>4.0f} ms, worst {max(times) * 1000:>4.0f} ms"
        )


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]]
    nodes, count = (*numbers, *(NODES, BREAKAGES)[len(numbers) :])
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        measure(nodes, count, Path(folder))


if __name__ == "__main__":
    main()
