"""What the kernel tells of by itself: rtnetlink's multicast groups and nftables' (netlink(7), rtnetlink(7)).

The sockets are owned by one thread, which reads them when `fileno()` is readable and
throws away what its own writes caused with `discard()`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.kinds.nft.row import own_table
from reconciler.wire import netlink as wire
from reconciler.wire import nftables

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1  # include/uapi/linux/netlink.h
SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h; above net.core.rmem_max with CAP_NET_ADMIN
RTNLGRP_LINK = 1  # include/uapi/linux/rtnetlink.h
AF_BRIDGE = 7
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80  # include/uapi/linux/neighbour.h
RTM_F_CLONED = 0x200  # include/uapi/linux/rtnetlink.h: a cached copy, never configuration

# A change of one of these changes nothing else. With a link, an address or a nexthop the kernel takes IPv4 routes away and tells nobody.
_LEAVES = frozenset({"route", "rule", "neighbour", "fdb", "nft_element", "nft_rule"})
_NFT = frozenset({"nft", "nft_element", "nft_rule"})  # with a table goes what is in it
ANYTHING = "anything"

_BUFFER = 8 << 20  # bytes; the deletion of a device with 10k children fits in about half of it
_MESSAGE = 1 << 16  # bytes; a notification is far smaller
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst length, src length, tos, table, protocol, scope, type, flags
_NHMSG = struct.Struct("=BBBxI")  # family, scope, protocol, flags
IFLA_IFNAME, IFLA_GROUP = 3, 27
IFA_ADDRESS, IFA_LOCAL = 1, 2
NDA_DST, NDA_LLADDR = 1, 2
RTA_DST, RTA_OIF, RTA_TABLE = 1, 4, 15
NHA_ID, NHA_OIF = 1, 5
FRA_PRIORITY, FRA_PROTOCOL = 6, 21  # include/uapi/linux/fib_rules.h


class Event(NamedTuple):
    """One notification, as far as it takes to tell whether it concerns us."""

    what: str  # the kind: "link", "address", "neighbour", "fdb", "route", "rule", "nexthop", "nft", "nft_element", "nft_rule"
    gone: bool  # a deletion
    family: int = 0  # AF_*
    interface: int = 0  # its index; 0: none
    name: str = ""  # of the interface, for links; of the chain, for nftables' chains and rules
    group: int = 0  # of the interface, for links
    protocol: int = 0  # of routes, rules and nexthops
    lasting: bool = True  # False for a neighbour or FDB entry that the kernel learned, and for a route that it cached
    # address: with its prefix length; neighbour: address; fdb: MAC; route: prefix; nexthop: id; rule: priority; nftables: table
    key: str = ""
    table: int = 0  # of routes
    port: int = 0  # netlink port of whose request it was; 0: the kernel's own doing, or it does not tell


class Heard(NamedTuple):
    """What was in the socket."""

    reasons: frozenset[str]  # "link deleted", "fdb changed": of what the caller asked for
    overflowed: bool  # some were lost: look at everything


class EventSocket:
    """Membership in multicast groups, in the namespace of the thread that opens it.

    Raises ObservationFailed when the kernel gives no socket.
    """

    def __init__(self, groups: Iterable[int], buffer: int = _BUFFER) -> None:
        try:
            self._sockets = [joined(socket.NETLINK_ROUTE, sorted({RTNLGRP_LINK, *groups}), buffer)]
        except OSError as error:
            raise ObservationFailed(f"cannot listen to the kernel's events: {error.strerror}") from error
        with suppress(OSError):  # a kernel without netfilter has nothing to tell of it
            self._sockets.append(joined(nftables.NETLINK_NETFILTER, [nftables.NFNLGRP_NFTABLES], buffer))
        self._changes: Counter[str] = Counter()
        self._readable = select.epoll()
        for one in self._sockets:
            self._readable.register(one, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when any of the sockets is."""
        return self._readable.fileno()

    def close(self) -> None:
        self._readable.close()
        for one in self._sockets:
            one.close()

    def read(self, concerns: Callable[[Event], bool]) -> Heard:
        """Everything that is there now, without waiting; `concerns` tells what is of interest."""
        reasons = set[str]()
        overflowed = False
        for buffer in self._buffers():
            if buffer is None:
                overflowed = True
                continue
            try:
                for event in decode(buffer):
                    self._note(event)
                    if concerns(event):
                        reasons.add(_reason(event))
            except (wire.Malformed, struct.error, IndexError):
                overflowed = True  # what cannot be read may be anything
        if overflowed:
            self.doubt()
        return Heard(frozenset(reasons), overflowed)

    def _note(self, event: Event) -> None:
        if event.what == "nft":
            self._changes.update(_NFT)
        else:
            self._changes[event.what if event.what in _LEAVES else ANYTHING] += 1

    def mark(self) -> Mapping[str, int]:
        """This moment; see `told`."""
        return dict(self._changes)

    def told(self, since: Any) -> frozenset[str] | None:
        """The kinds that a change was read of since a mark; None: anything may be otherwise.

        What is still unread is not read here: it is for whoever waits for it.
        """
        changed = frozenset(what for what, count in self._changes.items() if count != since.get(what, 0))
        if ANYTHING in changed or self._readable.poll(0):
            return None
        return changed if len(self._sockets) > 1 else changed | _NFT  # nobody tells of nftables

    def doubt(self) -> None:
        """Anything may be otherwise than it was until now."""
        self._changes[ANYTHING] += 1

    def discard(self) -> None:
        """Throw away all that is there: its cause is older than the observation that follows.

        The kernel queues notifications before the call that causes them returns, so
        after our tools have ended all of theirs are here. What others did meanwhile
        goes with them, and is seen by the observation.
        """
        for _ in self._buffers():
            self.doubt()

    def _buffers(self) -> Iterator[bytes | None]:
        """Buffers until the sockets are empty; None stands for some that were lost (ENOBUFS)."""
        for one in self._sockets:
            yield from _until_empty(one)


def joined(protocol: int, groups: Iterable[int], buffer: int) -> socket.socket:
    """A socket in these multicast groups. Raises OSError."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        made.setblocking(False)
        try:
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)  # what rmem_max allows: overflows sooner
        made.bind((0, 0))
        for group in groups:
            made.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        made.close()
        raise
    return made


def _until_empty(one: socket.socket) -> Iterator[bytes | None]:
    while True:
        try:
            yield one.recv(_MESSAGE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise ObservationFailed(f"the kernel's events: {os.strerror(error.errno or 0)}") from error
            yield None


def _reason(event: Event) -> str:
    return f"{event.what} {'deleted' if event.gone else 'changed'}"


def decode(buffer: bytes) -> Iterator[Event]:
    """The notifications in one buffer. Raises Malformed."""
    offset = 0
    while offset + 16 <= len(buffer):
        length, kind, _, _, port = wire.HEADER.unpack_from(buffer, offset)
        if length < 16 or offset + length > len(buffer):
            raise wire.Malformed(f"a message of {length} bytes with {len(buffer) - offset} left")
        event: Event | None = None
        if kind >> 8 == nftables.SUBSYSTEM:  # rtnetlink's numbers are below 256
            event = _nftables(buffer, offset + 16, offset + length, kind)
        elif (reader := _READERS.get(kind & ~1)) is not None:  # RTM_DEL* is RTM_NEW* + 1
            event = reader(buffer, offset + 16, offset + length, bool(kind & 1))
        if event is not None:
            yield event._replace(port=port) if port else event
        offset += (length + 3) & ~3


def _link(buffer: bytes, start: int, end: int, gone: bool) -> Event:
    family, _, index, _, _ = _IFINFOMSG.unpack_from(buffer, start)
    found = wire.attributes(buffer, start + 16, end)
    group = wire.u32(found[IFLA_GROUP]) if IFLA_GROUP in found else 0
    gone = gone and family != AF_BRIDGE  # a port that leaves its bridge: the link itself lives on
    return Event("link", gone, family, index, wire.text(found.get(IFLA_IFNAME, b"")), group)


def _address(buffer: bytes, start: int, end: int, gone: bool) -> Event:
    family, length, _, _, index = _IFADDRMSG.unpack_from(buffer, start)
    found = wire.attributes(buffer, start + 8, end)
    raw = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b"")
    key = f"{wire.address(raw)}/{length}" if len(raw) in (4, 16) else ""
    return Event("address", gone, family, index, key=key)


def _neighbour(buffer: bytes, start: int, end: int, gone: bool) -> Event:
    family, index, state, _, _ = _NDMSG.unpack_from(buffer, start)
    found = wire.attributes(buffer, start + 12, end)
    if family == AF_BRIDGE:
        lasting = bool(state & (NUD_PERMANENT | NUD_NOARP))
        return Event("fdb", gone, family, index, lasting=lasting, key=wire.mac(found.get(NDA_LLADDR, b"")))
    raw = found.get(NDA_DST, b"")
    key = wire.address(raw) if len(raw) in (4, 16) else ""
    return Event("neighbour", gone, family, index, lasting=bool(state & NUD_PERMANENT), key=key)


def _route(buffer: bytes, start: int, end: int, gone: bool) -> Event:
    family, length, _, _, table, protocol, _, _, flags = _RTMSG.unpack_from(buffer, start)
    found = wire.attributes(buffer, start + 12, end)
    if RTA_TABLE in found:
        table = wire.u32(found[RTA_TABLE])
    everything = bytes(4 if family == socket.AF_INET else 16)
    key = f"{wire.address(found.get(RTA_DST, everything))}/{length}"
    index = wire.u32(found[RTA_OIF]) if RTA_OIF in found else 0
    return Event("route", gone, family, index, protocol=protocol, lasting=not flags & RTM_F_CLONED, key=key, table=table)


def _rule(buffer: bytes, start: int, end: int, gone: bool) -> Event:
    found = wire.attributes(buffer, start + 12, end)
    protocol = wire.u8(found[FRA_PROTOCOL]) if FRA_PROTOCOL in found else 0
    priority = wire.u32(found[FRA_PRIORITY]) if FRA_PRIORITY in found else 0
    return Event("rule", gone, buffer[start], protocol=protocol, key=str(priority))


def _nexthop(buffer: bytes, start: int, end: int, gone: bool) -> Event:
    family, _, protocol, _ = _NHMSG.unpack_from(buffer, start)
    found = wire.attributes(buffer, start + 8, end)
    index = wire.u32(found[NHA_OIF]) if NHA_OIF in found else 0
    number = wire.u32(found[NHA_ID]) if NHA_ID in found else 0
    return Event("nexthop", gone, family, index, protocol=protocol, key=str(number))


def _nftables(buffer: bytes, start: int, end: int, kind: int) -> Event | None:
    """A change in a table; None for what closes a transaction."""
    new, gone = nftables.made(kind), nftables.deletes(kind)
    if new not in (nftables.NEWTABLE, nftables.NEWCHAIN, nftables.NEWRULE, nftables.NEWSET, nftables.NEWSETELEM):
        return None
    found = wire.attributes(buffer, start + nftables.NFGENMSG, end)
    table = wire.text(found.get(nftables.TABLE_NAME, b""))
    named = {nftables.NEWCHAIN: nftables.CHAIN_NAME, nftables.NEWRULE: nftables.RULE_CHAIN}.get(new)
    chain = wire.text(found.get(named, b"")) if named is not None else ""
    what = "nft_element" if new == nftables.NEWSETELEM else "nft" if own_table(table) else "nft_rule"
    return Event(what, gone, buffer[start], name=chain, key=table)


_READERS: dict[int, Callable[[bytes, int, int, bool], Event]] = {
    wire.RTM_NEWLINK: _link,
    wire.RTM_NEWADDR: _address,
    wire.RTM_NEWNEIGH: _neighbour,
    wire.RTM_NEWROUTE: _route,
    wire.RTM_NEWRULE: _rule,
    wire.RTM_NEWNEXTHOP: _nexthop,
}
