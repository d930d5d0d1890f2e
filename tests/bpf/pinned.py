"""Pinned maps and programs by libbpf's own calls: a few lines, so that what the product uses can be wrong without hiding it here."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def libbpf() -> ctypes.CDLL:
    """Raises OSError where it is not installed."""
    return ctypes.CDLL("libbpf.so.1", use_errno=True)


def opened(path: Path) -> int:
    """A descriptor of what is pinned there."""
    return _checked(libbpf().bpf_obj_get(str(path).encode()), str(path))


def possible_cpus() -> int:
    """How many values an entry of a per-CPU map has (libbpf_num_possible_cpus)."""
    return int(libbpf().libbpf_num_possible_cpus())


class Map:
    """A pinned map of entries in bytes. A per-CPU map's values are all CPUs' in a row."""

    def __init__(self, path: Path, key: int, value: int) -> None:
        self.key, self.value = key, value
        self.fd = opened(path)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        assert (len(key), len(value)) == (self.key, self.value)
        _checked(libbpf().bpf_map_update_elem(self.fd, key, value, ctypes.c_uint64(0)), "update")

    def __delitem__(self, key: bytes) -> None:
        _checked(libbpf().bpf_map_delete_elem(self.fd, key), "delete")

    def __getitem__(self, key: bytes) -> bytes:
        value = ctypes.create_string_buffer(self.value)
        if libbpf().bpf_map_lookup_elem(self.fd, key, value) < 0:
            raise KeyError(key)
        return value.raw

    def __iter__(self) -> Iterator[bytes]:
        key, following = None, ctypes.create_string_buffer(self.key)
        while libbpf().bpf_map_get_next_key(self.fd, key, following) == 0:
            key = following.raw
            yield key

    def __contains__(self, key: bytes) -> bool:
        return key in set(self)

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def close(self) -> None:
        os.close(self.fd)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
