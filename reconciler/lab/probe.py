"""Proof by packets: ICMP echo from every pod to every other and to the world outside, all at once (RFC 792, RFC 4443)."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from reconciler.kernel.netns import inside
from reconciler.lab.topology import OUTSIDE, Pod, Topology

WORLD = "outside"
AGAIN = 0.1  # seconds after which what has not answered is asked again
_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3  # include/uapi/linux/in.h: never fragment, ignore what was learned


class Path(NamedTuple):
    """From one pod to another, or to the world, by one family."""

    source: str
    target: str
    family: int  # 4 or 6

    def __str__(self) -> str:
        return f"{self.source} → {self.target} (IPv{self.family})"


class Matrix(NamedTuple):
    """What each path did: milliseconds there and back, or None where nothing came back."""

    answers: dict[Path, float | None]

    @property
    def ok(self) -> bool:
        return bool(self.answers) and not self.broken

    @property
    def broken(self) -> tuple[Path, ...]:
        return tuple(path for path, answer in self.answers.items() if answer is None)

    @property
    def text(self) -> str:
        """A table: a row per source, a column per target, a mark per family."""
        sources = list(dict.fromkeys(path.source for path in self.answers))
        reached = {path.target for path in self.answers}
        targets = [*sources, *(target for target in sorted(reached) if target not in sources)]
        families = sorted({path.family for path in self.answers})
        wide = max([len(name) for name in (*sources, *targets)], default=0)
        head = " " * (wide + 2) + "  ".join(target.ljust(max(wide, 2 * len(families))) for target in targets)
        lines = [head.rstrip()]
        for source in sources:
            cells = [self._cell(source, target, families).ljust(max(wide, 2 * len(families))) for target in targets]
            lines.append(f"{source:<{wide}}  {'  '.join(cells)}".rstrip())
        good = len(self.answers) - len(self.broken)
        said = " and ".join(f"IPv{family}" for family in families)
        lines.append(f"{good} of {len(self.answers)} paths answer ({said}; ✓ reached, ✗ not, · nothing to prove)")
        return "\n".join(lines)

    def _cell(self, source: str, target: str, families: Iterable[int]) -> str:
        found = [self.answers[path] if (path := Path(source, target, family)) in self.answers else 0 for family in families]
        return "".join("✗" if one is None else "✓" if one else "·" for one in found)


def paths(pods: Iterable[Pod], families: Iterable[int] = (4, 6)) -> dict[Path, str]:
    """Every path that must work, with the address at its end."""
    pods = list(pods)
    found: dict[Path, str] = {}
    for family in families:
        for source in pods:
            if source.address(family) is None:
                continue
            for target in pods:
                there = target.address(family)
                if target is not source and there is not None:
                    found[Path(source.name, target.name, family)] = there
            if family in source.outside:
                found[Path(source.name, WORLD, family)] = OUTSIDE[family].partition("/")[0]
    return found


def pods_of(lab: Topology, nodes: Iterable[str] | None) -> list[Pod]:
    """The pods of some nodes, or of all."""
    chosen = None if nodes is None else set(nodes)
    return [pod for pod in lab.pods if chosen is None or pod.node in chosen]


def probe(
    lab: Topology, *, nodes: Iterable[str] | None = None, families: Iterable[int] = (4, 6), within: float = 2.0, full_size: bool = False
) -> Matrix:
    """Ask along every path until all have answered, or until `within` seconds have passed.

    full_size: packets as large as both pods' MTU allows, which nobody may fragment.
    """
    with _Echoes(pods_of(lab, nodes), families) as echoes:
        return echoes.matrix(within, full_size)


class Loss(NamedTuple):
    """Packets of a stream along one path."""

    sent: int
    lost: int
    gap: float  # seconds, the longest time without an answer


class Stream:
    """Echo requests along every path, over and over; `losses` after the `with` block that made it (see `stream`)."""

    def __init__(self) -> None:
        self.losses: dict[Path, Loss] = {}

    @property
    def lost(self) -> int:
        return sum(loss.lost for loss in self.losses.values())

    @property
    def sent(self) -> int:
        return sum(loss.sent for loss in self.losses.values())


@contextmanager
def stream(lab: Topology, *, nodes: Iterable[str] | None = None, families: Iterable[int] = (4, 6), every: float = 0.02) -> Iterator[Stream]:
    """A packet along every path each `every` seconds while the block runs; answers are awaited for a second after it."""
    counted, stop, ready = Stream(), threading.Event(), threading.Event()
    with _Echoes(pods_of(lab, nodes), families) as echoes:
        worker = threading.Thread(target=echoes.stream, args=(counted, stop, ready, every), name="lab-stream")
        worker.start()
        try:
            ready.wait(5)
            yield counted
        finally:
            stop.set()
            worker.join()


class _Echoes:
    """A raw socket in each pod's namespace for each family; one thread reads and writes them all."""

    def __init__(self, pods: list[Pod], families: Iterable[int]) -> None:
        self._pods = {pod.name: pod for pod in pods}
        self._paths = paths(pods, tuple(families))
        self._identifier = os.getpid() & 0xFFFF
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._sequence = 0
        self._asked: dict[tuple[str, int, int], tuple[Path, float]] = {}  # source, family, sequence → path, when

    def __enter__(self) -> _Echoes:
        for pod in self._pods.values():
            for family in (4, 6):
                if pod.address(family) is not None:
                    opened = inside(pod.netns, lambda family=family: _open(family))  # type: ignore[misc]
                    self._sockets[pod.name, family] = opened
                    self._selector.register(opened, selectors.EVENT_READ, (pod.name, family))
        return self

    def __exit__(self, *_: object) -> None:
        """An open socket keeps its namespace alive."""
        self._selector.close()
        for one in self._sockets.values():
            one.close()

    def matrix(self, within: float, full_size: bool) -> Matrix:
        answers: dict[Path, float | None] = dict.fromkeys(self._paths)
        missing = set(self._paths)
        end = time.monotonic() + within
        while missing and (now := time.monotonic()) < end:
            for path in self._paths:
                if path in missing:
                    self._ask(path, self._size(path) if full_size else 0)
            until = min(end, now + AGAIN)
            while missing and (left := until - time.monotonic()) > 0:
                for path, took in self._answers(left):
                    if path in missing:
                        missing.discard(path)
                        answers[path] = took * 1000
        return Matrix(answers)

    def stream(self, counted: Stream, stop: threading.Event, ready: threading.Event, every: float) -> None:
        sent = dict.fromkeys(self._paths, 0)
        got = dict.fromkeys(self._paths, 0)
        began = time.monotonic()
        last = dict.fromkeys(self._paths, began)
        gaps = dict.fromkeys(self._paths, 0.0)
        stopped: float | None = None
        while stopped is None or (self._asked and time.monotonic() < stopped + 1.0):
            if stopped is None:
                for path in self._paths:
                    self._ask(path, 0)
                    sent[path] += 1
                if stop.is_set():
                    stopped = time.monotonic()
            until = time.monotonic() + every
            while (left := until - time.monotonic()) > 0:
                for path, _ in self._answers(left):
                    now = time.monotonic()
                    got[path] += 1
                    gaps[path] = max(gaps[path], now - last[path])
                    last[path] = now
            ready.set()
        counted.losses = {path: Loss(sent[path], sent[path] - got[path], gaps[path]) for path in self._paths}

    def _size(self, path: Path) -> int:
        """Bytes of payload that fill the packet."""
        sizes = [self._pods[name].mtu for name in (path.source, path.target) if name in self._pods]
        return min(sizes) - (20 if path.family == 4 else 40) - _ECHO.size

    def _ask(self, path: Path, size: int) -> None:
        self._sequence = self._sequence % 0xFFFF + 1
        request = _echo(_REQUEST[path.family], self._identifier, self._sequence, bytes(size), path.family)
        self._asked[path.source, path.family, self._sequence] = (path, time.monotonic())
        with suppress(OSError):  # no route now, or a packet that is too large: it has no answer, which is the finding
            self._sockets[path.source, path.family].sendto(request, (self._paths[path], 0))

    def _answers(self, seconds: float) -> Iterator[tuple[Path, float]]:
        """(path, seconds there and back) of what comes in, waiting at most so long for the first."""
        for key, _ in self._selector.select(seconds):
            name, family = key.data
            while True:
                try:
                    packet = key.fileobj.recv(65535)  # type: ignore[union-attr]
                except BlockingIOError:
                    break
                except OSError:
                    continue  # an error of an earlier packet, told once
                start = (packet[0] & 15) * 4 if family == 4 else 0
                kind, _, _, identifier, sequence = _ECHO.unpack_from(packet, start)
                known = (
                    self._asked.pop((name, family, sequence), None) if kind == _REPLY[family] and identifier == self._identifier else None
                )
                if known is not None:
                    yield known[0], time.monotonic() - known[1]


def _open(family: int) -> socket.socket:
    if family == 4:
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return opened


def _echo(kind: int, identifier: int, sequence: int, payload: bytes, family: int) -> bytes:
    head = _ECHO.pack(kind, 0, 0, identifier, sequence)
    if family == 6:
        return head + payload  # the kernel fills in the checksum, which covers addresses (RFC 3542, 3.1)
    return _ECHO.pack(kind, 0, _checksum(head + payload), identifier, sequence) + payload


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
