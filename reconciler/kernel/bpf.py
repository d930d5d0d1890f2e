"""bpf(2): what is pinned, what is attached, and the entries of maps. Loads no library: where nothing is asked, it costs nothing.

CAP_BPF and CAP_NET_ADMIN are enough for all of it; only `program`, which asks by id, takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.wire import bpf as wire
from reconciler.wire.bpf import MapInfo, Pinned, ProgramInfo

# The number of bpf(2) on each machine (arch/*/include/…/unistd*.h); glibc has no function for it.
_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "s390x": 351,
    "armv7l": 386,
    "i686": 357,
}
_MACHINE = os.uname().machine
_NUMBER = _NUMBERS.get(_MACHINE)
_BPFFS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
_BATCHED = ("hash", "lpm_trie")  # types of maps that take batches
_CHUNK = 1 << 14  # entries asked for in one call
_SETTLED = 50_000_000  # nanoseconds; the clock of a file system ticks every 1 to 10 ms: what comes within a tick leaves no trace
_libc = ctypes.CDLL(None, use_errno=True)


def call(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    """One bpf(2). Raises OSError, with the words of a person who must act where the kernel has none."""
    if _NUMBER is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {_MACHINE} is not known")
    result = _libc.syscall(ctypes.c_long(_NUMBER), ctypes.c_int(command), attr, ctypes.c_uint(len(attr)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def attribute(packed: bytes) -> ctypes.Array[ctypes.c_char]:
    """A part of union bpf_attr that the kernel can write to."""
    return ctypes.create_string_buffer(packed, len(packed))


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of what is pinned at a path. Raises OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    descriptor = call(wire.OBJ_GET, attribute(wire.OBJECT.pack(ctypes.addressof(name), 0, 0)))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_map(path: str) -> Iterator[tuple[int, MapInfo]]:
    """A pinned map and what it is. Raises OSError."""
    with opened(path) as descriptor:
        info = told(descriptor)
        if not isinstance(info, MapInfo):
            raise OSError(errno.EINVAL, "is no map")
        yield descriptor, info


def told(descriptor: int) -> Pinned | None:
    """What the kernel tells of a map or a program; None for anything else. Raises OSError."""
    what = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (asked for every map in every round)
    if what == "anon_inode:bpf-map":
        return wire.map_info(_info(descriptor, bytes(wire.MAP_INFO_SIZE)))
    if what == "anon_inode:bpf-prog":
        ids = ctypes.create_string_buffer(4 * wire.MAP_IDS)
        return wire.program_info(_info(descriptor, wire.program_question(ctypes.addressof(ids))), ids.raw)
    return None


def _info(descriptor: int, question: bytes) -> bytes:
    answer = attribute(question)
    call(wire.OBJ_GET_INFO_BY_FD, attribute(wire.INFO.pack(descriptor, len(answer), ctypes.addressof(answer))))
    return answer.raw


def pinned(folder: str) -> dict[str, Pinned]:
    """What is pinned in a folder, by name; empty where there is no such folder. Raises ObservationFailed."""
    found: dict[str, Pinned] = {}
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return found
    except OSError as error:
        raise ObservationFailed(f"{folder}: {error.strerror}") from error
    for name in names:
        try:
            with opened(f"{folder}/{name}") as descriptor:
                info = told(descriptor)
        except FileNotFoundError:
            continue  # it went meanwhile
        except IsADirectoryError:
            continue
        except OSError as error:
            if error.errno == errno.EACCES and os.path.isdir(f"{folder}/{name}"):  # noqa: PTH112
                continue  # bpf(2) says so of folders
            raise ObservationFailed(f"{folder}/{name}: {why(error)}") from error
        if info is not None:
            found[name] = info
    return found


class Pins:
    """What is pinned in folders, asked again only where a folder was written to: its times tell (bpffs sets them)."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], dict[str, Pinned]]] = {}

    def of(self, folder: str) -> dict[str, Pinned]:
        """See `pinned`."""
        try:
            status = os.stat(folder)
        except OSError:
            return pinned(folder)
        state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        before = self._known.get(folder)
        if before is not None and before[0] == state:
            return before[1]
        found = pinned(folder)
        if time.time_ns() - status.st_mtime_ns > _SETTLED:
            self._known[folder] = (state, found)
        return found


def is_bpffs(path: str) -> bool:
    """Whether a folder lies in a BPF file system (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    kind: int = struct.unpack_from("=l" if struct.calcsize("l") == 8 else "=i", buffer.raw)[0]
    return kind & 0xFFFFFFFF == _BPFFS_MAGIC


def program(number: int) -> ProgramInfo | None:
    """A program by its id; None where it is gone, or may not be asked for (CAP_SYS_ADMIN)."""
    try:
        descriptor = call(wire.PROG_GET_FD_BY_ID, attribute(wire.BY_ID.pack(number, 0, 0)))
    except OSError:
        return None
    try:
        info = told(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return info if isinstance(info, ProgramInfo) else None


# -- entries ------------------------------------------------------------------------------------


def dump(descriptor: int, info: MapInfo) -> tuple[bytes, bytes]:
    """All keys and all values of a map, each end to end in one order. Raises OSError."""
    if info.type in _BATCHED:
        return _dump_batches(descriptor, info)
    keys = [struct.pack("=I", number) for number in range(info.max_entries)]
    found = [(key, value) for key in keys if (value := look_up(descriptor, info, key)) is not None]
    return b"".join(key for key, _ in found), b"".join(value for _, value in found)


def _dump_batches(descriptor: int, info: MapInfo) -> tuple[bytes, bytes]:
    """In batches (BPF_MAP_LOOKUP_BATCH, Linux 5.6, of tries 5.13): the kernel gives whole buckets, and says where it stopped."""
    room = min(info.max_entries, _CHUNK)
    keys, values = ctypes.create_string_buffer(info.key_size * room), ctypes.create_string_buffer(info.value_size * room)
    place = ctypes.create_string_buffer(max(info.key_size, 8))
    all_keys, all_values, before = [], [], 0
    while True:
        pointers = (before, ctypes.addressof(place), ctypes.addressof(keys), ctypes.addressof(values))
        question = attribute(wire.BATCH.pack(*pointers, room, descriptor, 0, 0))
        ended = False
        try:
            call(wire.MAP_LOOKUP_BATCH, question)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            ended = True
        count = wire.BATCH.unpack(question.raw)[4]
        all_keys.append(keys.raw[: count * info.key_size])
        all_values.append(values.raw[: count * info.value_size])
        if ended:
            return b"".join(all_keys), b"".join(all_values)
        before = ctypes.addressof(place)


def look_up(descriptor: int, info: MapInfo, key: bytes) -> bytes | None:
    """The value under one key; None where there is none. Of a trie it is that of the longest prefix of the key. Raises OSError."""
    wanted, value = attribute(key), ctypes.create_string_buffer(info.value_size)
    try:
        call(wire.MAP_LOOKUP_ELEM, attribute(wire.ELEMENT.pack(descriptor, ctypes.addressof(wanted), ctypes.addressof(value), 0)))
    except FileNotFoundError:
        return None
    return value.raw


def update_one(descriptor: int, key: bytes, value: bytes) -> None:
    """Set one entry. Raises OSError."""
    at, to = attribute(key), attribute(value)
    call(wire.MAP_UPDATE_ELEM, attribute(wire.ELEMENT.pack(descriptor, ctypes.addressof(at), ctypes.addressof(to), 0)))


def delete_one(descriptor: int, key: bytes) -> None:
    """Remove one entry. Raises OSError."""
    at = attribute(key)
    call(wire.MAP_DELETE_ELEM, attribute(wire.ELEMENT.pack(descriptor, ctypes.addressof(at), 0, 0)))


class Written(NamedTuple):
    """Entries to be set, or without values, to be removed: keys and values end to end, in order."""

    number: int
    keys: bytes
    values: bytes


def write(descriptor: int, info: MapInfo, entries: Written) -> dict[int, OSError]:
    """Write entries in order (BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH); why which of them were refused.

    One that is refused ends a batch; the rest is given again behind it.
    """
    if info.type not in _BATCHED:
        return _one_by_one(descriptor, info, entries)
    count, failed = entries.number, dict[int, OSError]()
    keys, values = attribute(entries.keys), attribute(entries.values)
    command = wire.MAP_UPDATE_BATCH if entries.values else wire.MAP_DELETE_BATCH
    start = 0
    while start < count:
        at = ctypes.addressof(keys) + start * info.key_size
        to = ctypes.addressof(values) + start * info.value_size if entries.values else 0
        question = attribute(wire.BATCH.pack(0, 0, at, to, count - start, descriptor, 0, 0))
        try:
            call(command, question)
            break
        except OSError as error:
            done = wire.BATCH.unpack(question.raw)[4]
            if done >= count - start:  # it never began
                return failed | dict.fromkeys(range(start, count), error)
            start += done + 1
            failed[start - 1] = error
    return failed


def _one_by_one(descriptor: int, info: MapInfo, entries: Written) -> dict[int, OSError]:
    """Program arrays take no batches."""
    failed: dict[int, OSError] = {}
    for number in range(entries.number):
        key = entries.keys[number * info.key_size :][: info.key_size]
        try:
            if entries.values:
                update_one(descriptor, key, entries.values[number * info.value_size :][: info.value_size])
            else:
                delete_one(descriptor, key)
        except OSError as error:
            failed[number] = error
    return failed


def why(error: OSError) -> str:
    if error.errno == errno.ENOSYS:
        return f"{error.strerror}: this kernel has no BPF"
    if error.errno == errno.EPERM:
        return "Operation not permitted: CAP_BPF and CAP_NET_ADMIN are needed"
    return error.strerror or str(error)
