"""Who else holds the UDP port that VXLAN packets come in by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.engine.reader import ObservationFailed, Reader
from reconciler.kernel.opponents.model import Opponent
from reconciler.kernel.opponents.processes import holders
from reconciler.kinds.link import Link, Vxlan

TABLES = ("udp", "udp6")


def udp_port(io: Reader, root: str, port: int, seen: Iterable[Link]) -> Iterator[Opponent]:
    """Sockets on the port that no VXLAN device here explains. Raises ObservationFailed.

    The kernel's own sockets look like those of a process, but no process has them open.
    A VXLAN device opens its socket when it is brought up.
    """
    if any(isinstance(link.info, Vxlan) and link.info.dstport == port and link.up and not link.key.netns for link in seen):
        return  # the kernel gives a port to one of both only
    for inode in dict.fromkeys(_inodes(io, port)):
        found = holders(root, inode)
        if found.names or not found.all_seen:
            yield Opponent(
                " and ".join(found.names) or f"somebody who cannot be seen from here (socket {inode})",
                f"listens on UDP port {port}: the VXLAN device cannot be brought up",
                f"ss -ulpn 'sport = :{port}'",
                "stop it, or say another port on all nodes, fabric.overlay.port",
            )
            continue
        yield Opponent(
            "the kernel",
            f"holds UDP port {port} for something that is no VXLAN device of this namespace: "
            "a device that moved to another one (Docker's swarm networks do), WireGuard or GENEVE",
            f"ss -uln 'sport = :{port}' shows socket {inode}, and no process has it open",
            "docker network ls --filter driver=overlay; wg show all listen-port; or say another port on all nodes, fabric.overlay.port",
            "note",
        )


def _inodes(io: Reader, port: int) -> Iterator[str]:
    """Of every socket bound to the port (proc(5), /proc/net/udp)."""
    for name in TABLES:
        table = io.read("", f"/proc/thread-self/net/{name}")
        if table is None:
            if name == "udp":
                raise ObservationFailed("/proc/net/udp is not there")
            continue  # no IPv6 in this kernel
        for line in table.decode("ascii", "replace").splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]
