"""Echo requests as fast as their answers come back, so that a hole of a few packet times in the path is seen.

`python -m tests.lab.flood ADDRESS…`, in a pod's namespace: asks the addresses in turn, one request under way at a
time, until its standard input is closed; then prints what became of them as JSON. A process of its own, so that
nobody's interpreter lock makes it pause.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from reconciler.lab.topology import Pod

PATIENCE = 0.01  # seconds for an answer, before the next one is asked
LATE = 1.0  # seconds for all answers, at the end
_HEAD = struct.Struct("!BBHHHQ")  # type, code, checksum, identifier (both by the kernel), sequence; a number of our own
_ECHO = {4: (socket.AF_INET, socket.IPPROTO_ICMP, 8), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128)}
ROOT = Path(__file__).parents[2]


class Flooded(NamedTuple):
    """What became of the packets to one address."""

    sent: int
    lost: int


class Flood:
    """`found` by address, after the `with` block that made it (see `flood`)."""

    def __init__(self) -> None:
        self.found: dict[str, Flooded] = {}

    @property
    def sent(self) -> int:
        return sum(one.sent for one in self.found.values())

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.found.values())

    def __str__(self) -> str:
        return ", ".join(f"{address}: {one.lost} of {one.sent} lost" for address, one in self.found.items())


@contextmanager
def flood(source: Pod, targets: Sequence[str]) -> Iterator[Flood]:
    """From one pod to these addresses while the block runs; every answer counts as a packet of the way back."""
    command = ["nsenter", f"--net=/run/netns/{source.netns}", sys.executable, "-m", "tests.lab.flood", *targets]
    found = Flood()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flowing\n", f"the flood from {source.name} did not start"
        try:
            yield found
        finally:
            said, _ = process.communicate(timeout=30)
    found.found = {address: Flooded(*counts) for address, counts in json.loads(said).items()}


class _Asked:
    """The requests to one address. Ping sockets: the kernel writes the checksum and hands back our answers only (icmp(7))."""

    def __init__(self, address: str) -> None:
        family, protocol, self._kind = _ECHO[6 if ":" in address else 4]
        self.sent = 0
        self.missing: set[int] = set()
        self.socket = socket.socket(family, socket.SOCK_DGRAM, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setblocking(False)
        self.socket.connect((address, 0))

    def ask(self) -> None:
        self.sent += 1
        self.missing.add(self.sent)
        with suppress(OSError):  # the way is closed: no answer, which is the finding
            self.socket.send(_HEAD.pack(self._kind, 0, 0, 0, self.sent & 0xFFFF, self.sent))

    def hear(self, seconds: float) -> bool:
        """Whether something came in."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return False
        with suppress(OSError):  # what an earlier packet met, told once
            self.missing.discard(_HEAD.unpack_from(self.socket.recv(64))[5])
        return True


def main(addresses: Sequence[str]) -> None:
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")  # of this namespace, and for IPv6 too
    asked = {address: _Asked(address) for address in addresses}
    for one in asked.values():  # the first packets wait for neighbours
        one.ask()
        one.hear(LATE)
    print("flowing", flush=True)
    turn = 0
    while turn % 64 or not select.select([sys.stdin], [], [], 0)[0]:
        turn += 1
        for one in asked.values():
            one.ask()
            while one.sent in one.missing and one.hear(PATIENCE):
                pass
    end = time.monotonic() + LATE
    for one in asked.values():
        while one.missing and (left := end - time.monotonic()) > 0:
            one.hear(left)
    print(json.dumps({address: (one.sent, len(one.missing)) for address, one in asked.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
