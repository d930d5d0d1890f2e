"""Whether eBPF programs here can ask the kernel which source address it would choose: tried, as backports keep their version's number."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from functools import cache

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.bpf import attribute, call, why
from reconciler.wire import bpf as wire

_ROUTE_BYTES = 64  # struct bpf_fib_lookup
_FAMILY_AT, _DEVICE_AT = 0, 8  # in it
_AF_INET, _LOOPBACK = 2, 1
_SCHED_CLS = 3  # enum bpf_prog_type
_FIB_LOOKUP = 69  # enum bpf_func_id
_SOURCE = 1 << 1 | 1 << 2 | 1 << 4  # BPF_FIB_LOOKUP_OUTPUT, _SKIP_NEIGH (Linux 6.3), _SRC (6.7)
_UNKNOWN_FLAG = -22  # EINVAL
_PACKET = bytes(64)


def _instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn, for little-endian and big-endian machines alike."""
    registers = of << 4 | to if sys.byteorder == "little" else to << 4 | of
    return struct.pack("=BBhi", code, registers, offset, value)


def _program() -> bytes:
    """Returns what bpf_fib_lookup() says of an empty route on the loopback device: -EINVAL for a flag that it does not know alone."""
    store_8, store_4, store_1, copy, add, load, run, end = 0x7A, 0x62, 0x72, 0xBF, 0x07, 0xB7, 0x85, 0x95
    lines = [_instruction(store_8, 10, offset=at) for at in range(-_ROUTE_BYTES, 0, 8)]
    lines += [
        _instruction(store_1, 10, offset=_FAMILY_AT - _ROUTE_BYTES, value=_AF_INET),
        _instruction(store_4, 10, offset=_DEVICE_AT - _ROUTE_BYTES, value=_LOOPBACK),
        _instruction(copy, 2, 10),
        _instruction(add, 2, value=-_ROUTE_BYTES),
        _instruction(load, 3, value=_ROUTE_BYTES),
        _instruction(load, 4, value=_SOURCE),
        _instruction(run, value=_FIB_LOOKUP),
        _instruction(end),
    ]
    return b"".join(lines)


@cache
def tells_sources() -> bool:
    """Whether bpf_fib_lookup() takes BPF_FIB_LOOKUP_SRC: a small program is loaded, run once, and gone. Raises ObservationFailed."""
    program, terms = ctypes.create_string_buffer(_program()), ctypes.create_string_buffer(b"GPL")
    packet = attribute(_PACKET)
    count = (len(program) - 1) // 8
    try:
        loaded = call(wire.PROG_LOAD, attribute(wire.LOAD.pack(_SCHED_CLS, count, ctypes.addressof(program), ctypes.addressof(terms))))
        try:
            run = attribute(wire.RUN.pack(loaded, 0, len(_PACKET), 0, ctypes.addressof(packet), 0, 1, 0))
            call(wire.PROG_TEST_RUN, run)
        finally:
            os.close(loaded)
    except OSError as error:
        raise ObservationFailed(f"whether eBPF programs are told source addresses: {why(error)}") from None
    said: int = struct.unpack_from("=i", run.raw, 4)[0]
    return said != _UNKNOWN_FLAG
