"""What services need to know of the host: which eBPF objects came along, its devices and addresses, its network namespace's cookie."""

from __future__ import annotations

import socket
import struct
from fnmatch import fnmatchcase
from functools import cache
from hashlib import sha256
from pathlib import Path

from reconciler.engine.reader import ObservationFailed, Reader
from reconciler.facts.model import Host
from reconciler.kernel.fib import tells_sources
from reconciler.kernel.mounts import goes_with_us
from reconciler.kinds.address.decode import REQUEST, decode
from reconciler.kinds.bpf_map_entry.layout import OBJECTS
from reconciler.kinds.bpf_program.objects import path_of
from reconciler.spec.services import NodePorts, Services
from reconciler.wire.ip import usable_by_a_host

SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h


def with_services(host: Host, io: Reader, services: Services | None) -> Host:
    """A host's facts with those that this section asks for; as they were where there is none. Raises ObservationFailed."""
    if services is None:
        return host
    private = not host.root and io.on_bpffs(services.bpffs) and goes_with_us(services.bpffs)
    host = host._replace(objects=objects(), passing_bpffs=private)
    said = services.node_port
    if not isinstance(said, NodePorts):
        return host
    host = host._replace(tells_sources=_tells_sources())
    if services.patterns:
        names = io.interfaces("").values()
        host = host._replace(links=tuple(sorted(name for name in names if any(fnmatchcase(name, one) for one in services.patterns))))
    if said.addresses is not None:
        host = host._replace(addresses=_addresses(io))
    return host._replace(netns_cookie=netns_cookie()) if said.loopback else host


def _tells_sources() -> bool:
    """Where it cannot be asked, whoever loads the real programs is told why."""
    try:
        return tells_sources()
    except ObservationFailed:
        return True


@cache
def objects() -> dict[str, str]:
    """The eBPF objects that came with this plumbline, with their sha256; those that did not are not named."""
    return {name: sha256(Path(path_of(name)).read_bytes()).hexdigest() for name in OBJECTS if Path(path_of(name)).exists()}


def netns_cookie() -> int:
    """Of the network namespace that this thread is in; 0 where the kernel does not tell (before Linux 5.14). Raises ObservationFailed."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            return int(struct.unpack("=Q", one.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])
    except OSError as error:
        if error.errno == 92:  # ENOPROTOOPT
            return 0
        raise ObservationFailed(f"the cookie of the network namespace: {error.strerror}") from None


def _addresses(io: Reader) -> tuple[str, ...]:
    """Those that others can reach; link-local ones would need a device's name."""
    found = io.decoded("", REQUEST, decode)
    addresses = dict.fromkeys(row.key.prefix.partition("/")[0] for row in (*found.stated, *found.automatic))
    return tuple(sorted(one for one in addresses if usable_by_a_host(one) and not one.startswith(("fe80:", "169.254."))))
