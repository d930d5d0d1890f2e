"""What the kernel tells of in pods' namespaces, heard from the node's own (NETLINK_LISTEN_ALL_NSID, netlink(7)).

No socket stays inside a pod's namespace: it would keep a dead pod's devices alive. The kernel tells of
namespaces that have a number here (ip-netns(8), "nsid"), and takes the number away with the namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.events import AF_BRIDGE, SOL_NETLINK, Event, decode, joined
from reconciler.kernel.netns import Identity, opened
from reconciler.wire import netlink as wire

NETLINK_LISTEN_ALL_NSID = 8  # include/uapi/linux/netlink.h
SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
RTM_NEWNSID, RTM_GETNSID = 88, 90
NETNSA_NSID, NETNSA_FD, NOT_ASSIGNED = 1, 3, -1  # include/uapi/linux/net_namespace.h
_RTGENMSG = bytes(4)  # rtgenmsg (rtnetlink.h), padded
_BUFFER = 4 << 20  # bytes; what is lost here is looked at by a round
_MESSAGE = 1 << 16
_ANCILLARY = socket.CMSG_SPACE(4)
# Classic BPF (bpf_common.h, filter.h): a neighbour that a pod learns or forgets is no reason to wake anybody, an FDB entry is.
_BYTE_AT, _EQUAL, _RETURN = 0x30, 0x15, 0x06
_TYPE = 4 if sys.byteorder == "little" else 5  # the low byte of nlmsg_type
_FILTER = (
    (_BYTE_AT, 0, 0, _TYPE),
    (_EQUAL, 1, 0, wire.RTM_NEWNEIGH),
    (_EQUAL, 0, 2, wire.RTM_DELNEIGH),
    (_BYTE_AT, 0, 0, 16),  # ndm_family
    (_EQUAL, 0, 1, AF_BRIDGE),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)


class PodEvents:
    """Hears of the namespaces that it is told to `follow`. One thread owns it.

    Raises ObservationFailed where the kernel gives no such socket: it takes CAP_NET_BROADCAST.
    """

    def __init__(self, groups: Iterable[int], buffer: int = _BUFFER) -> None:
        try:
            self._socket = joined(socket.NETLINK_ROUTE, sorted(set(groups)), buffer)
        except OSError as error:
            raise ObservationFailed(f"cannot listen to the kernel's events: {error.strerror}") from error
        try:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
            _attach(self._socket)
        except OSError as error:
            self._socket.close()
            raise ObservationFailed(f"cannot listen to events in pods' namespaces: {error.strerror} (CAP_NET_BROADCAST)") from error
        self._known: dict[str, tuple[Identity, int]] = {}
        self._names: dict[int, str] = {}

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def follow(self, names: Collection[str]) -> None:
        """From here on these namespaces, and no others. One that is gone, or may not be entered, is left out."""
        before, self._known = self._known, {}
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
            asked.bind((0, 0))
            asked.settimeout(5)
            for name in names:
                with suppress(ObservationFailed, OSError), opened(name) as (descriptor, identity):
                    number = before[name][1] if name in before and before[name][0] == identity else _number(asked, descriptor)
                    self._known[name] = identity, number
        self._names = {number: name for name, (_, number) in self._known.items()}

    def read(self, concerns: Callable[[str, Event], bool]) -> bool:
        """Whether anything of interest was told of a namespace that is followed, or may have been: some were lost."""
        wakes = False
        while True:
            try:
                buffer, ancillary, _, _ = self._socket.recvmsg(_MESSAGE, _ANCILLARY)
            except BlockingIOError:
                return wakes
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise ObservationFailed(f"the kernel's events in pods: {error.strerror}") from error
                wakes = True
                continue
            name = self._names.get(_nsid(ancillary))
            if name is not None and not wakes:
                try:
                    wakes = any(concerns(name, event) for event in decode(buffer))
                except (wire.Malformed, struct.error, IndexError):
                    wakes = True

    def discard(self) -> None:
        """Throw away all that is there: a look follows."""
        self.read(lambda name, event: False)


def _attach(listening: socket.socket) -> None:
    """sock_fprog (filter.h): how many, and where they are."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in _FILTER))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(program)))


def _nsid(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The number of the namespace that it happened in; NOT_ASSIGNED for our own."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
            return wire.s32(data)
    return NOT_ASSIGNED


def _number(asked: socket.socket, descriptor: int) -> int:
    """The number of a namespace here; it gets one where it has none. Raises OSError."""
    number = _ask(asked, RTM_GETNSID, descriptor)
    if number == NOT_ASSIGNED:
        _ask(asked, RTM_NEWNSID, descriptor, wire.ATTRIBUTE.pack(8, NETNSA_NSID) + struct.pack("=i", NOT_ASSIGNED))
        number = _ask(asked, RTM_GETNSID, descriptor)
    return number


def _ask(asked: socket.socket, kind: int, descriptor: int, more: bytes = b"") -> int:
    """What is answered: a number, or NOT_ASSIGNED for a mere yes. Raises OSError."""
    body = _RTGENMSG + wire.ATTRIBUTE.pack(8, NETNSA_FD) + struct.pack("=I", descriptor) + more
    asked.send(wire.HEADER.pack(16 + len(body), kind, wire.NLM_F_REQUEST | (wire.NLM_F_ACK if more else 0), 0, 0) + body)
    answer = asked.recv(_MESSAGE)
    _, said, _, _, _ = wire.HEADER.unpack_from(answer)
    if said == wire.NLMSG_ERROR:
        number = -wire.s32(answer[16:20])
        if number:
            raise OSError(number, os.strerror(number))
        return NOT_ASSIGNED
    return wire.s32(wire.attributes(answer, 16 + len(_RTGENMSG), len(answer)).get(NETNSA_NSID, b"\xff" * 4))
