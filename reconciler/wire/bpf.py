"""The layout of what bpf(2) is asked and answers (include/uapi/linux/bpf.h). Numbers are native-endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.wire.netlink import Malformed

# enum bpf_cmd
MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM = 1, 2, 3
PROG_LOAD, PROG_TEST_RUN = 5, 10
OBJ_GET, PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 7, 13, 15, 16
MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH = 24, 26, 27

# The parts of union bpf_attr that these commands read.
ELEMENT = struct.Struct("=IxxxxQQQ")  # map_fd, key, value, flags
OBJECT = struct.Struct("=QII")  # pathname, bpf_fd, file_flags
LOAD = struct.Struct("=IIQQ24x")  # prog_type, insn_cnt, insns, license, …
RUN = struct.Struct("=IIIIQQII")  # prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration
BY_ID = struct.Struct("=III")  # id, next_id, open_flags
INFO = struct.Struct("=IIQ")  # bpf_fd, info_len, info
QUERY = struct.Struct("=IIIIQI4x")  # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
BATCH = struct.Struct("=QQQQIIQQ")  # in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags

# enum bpf_map_type, by the words of bpftool
MAP_TYPES: Mapping[int, str] = {
    1: "hash",
    2: "array",
    3: "prog_array",
    5: "percpu_hash",
    6: "percpu_array",
    9: "lru_hash",
    10: "lru_percpu_hash",
    11: "lpm_trie",
    27: "ringbuf",
}
# enum bpf_attach_type, by the words of bpftool
HOOKS: Mapping[str, int] = {
    "connect4": 10,
    "connect6": 11,
    "sendmsg4": 14,
    "sendmsg6": 15,
    "recvmsg4": 19,
    "recvmsg6": 20,
    "getpeername4": 29,
    "getpeername6": 30,
}
ALLOW_OVERRIDE, ALLOW_MULTI = 1, 2  # BPF_F_ALLOW_...

_MAP_INFO = struct.Struct("=IIIIII16s")  # struct bpf_map_info: type, id, key_size, value_size, max_entries, map_flags, name
_PROGRAM_INFO = struct.Struct("=II8s4x4x8x8x8x4xIQ16s")  # struct bpf_prog_info: type, id, tag, …, nr_map_ids, map_ids, name
PROGRAM_INFO_SIZE, MAP_INFO_SIZE = _PROGRAM_INFO.size, _MAP_INFO.size
MAP_IDS = 64  # maps that one program may use (MAX_USED_MAPS in the kernel)


class MapInfo(NamedTuple):
    """What the kernel tells of a map."""

    id: int
    type: str  # as bpftool calls it; "type 14" for one that has no name here
    key_size: int  # bytes
    value_size: int  # bytes
    max_entries: int
    flags: int
    name: str


class ProgramInfo(NamedTuple):
    """What the kernel tells of a program."""

    id: int
    name: str  # at most 15 bytes of it
    tag: str  # of its instructions: the same code has the same
    maps: frozenset[int]  # ids of those that it uses


Pinned = MapInfo | ProgramInfo


class Attached(NamedTuple):
    """What is attached to one hook of one cgroup."""

    flags: int  # ALLOW_...; meaningless where nothing is
    programs: tuple[int, ...]  # ids
    above: tuple[str, int] | None = None  # a cgroup above it and the id of its program, which lets none be attached below it


def map_info(raw: bytes) -> MapInfo:
    """struct bpf_map_info, or the beginning of it. Raises Malformed."""
    if len(raw) < _MAP_INFO.size:
        raise Malformed(f"struct bpf_map_info of {len(raw)} bytes")
    kind, number, key, value, entries, flags, name = _MAP_INFO.unpack_from(raw)
    return MapInfo(number, MAP_TYPES.get(kind, f"type {kind}"), key, value, entries, flags, _text(name))


def program_question(map_ids: int) -> bytes:
    """A struct bpf_prog_info that asks for the maps of a program: where to write their ids, room for MAP_IDS."""
    return _PROGRAM_INFO.pack(0, 0, bytes(8), MAP_IDS, map_ids, bytes(16))


def program_info(raw: bytes, map_ids: bytes) -> ProgramInfo:
    """struct bpf_prog_info, or the beginning of it, and what was written to where it points. Raises Malformed."""
    if len(raw) < _PROGRAM_INFO.size:
        raise Malformed(f"struct bpf_prog_info of {len(raw)} bytes")
    _, number, tag, count, _, name = _PROGRAM_INFO.unpack_from(raw)
    if count * 4 > len(map_ids):
        raise Malformed(f"a program with {count} maps")
    return ProgramInfo(number, _text(name), tag.hex(), frozenset(struct.unpack_from(f"={count}I", map_ids)))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
