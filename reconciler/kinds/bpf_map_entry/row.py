"""One entry of a pinned BPF map (bpftool-map(8))."""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.bpf_folder.row import PinPath
from reconciler.kinds.bpf_map_entry import layout
from reconciler.kinds.spelling import FreeText

_HEX = re.compile(r"[0-9a-f]{2}( ?[0-9a-f]{2})*")


class BpfMapEntryKey(NamedTuple):
    map: PinPath  # where it is pinned
    key: bytes | FreeText  # by hand: hexadecimal digits


class BpfMapEntry(NamedTuple):
    """An entry: bytes to bytes, or in a program array, bytes to where the program is pinned."""

    key: BpfMapEntryKey
    value: bytes | FreeText  # by hand: hexadecimal digits, or the path of a pin
    words: str = ""  # says it to a person; "" where the map's layout does
    origin: tuple[Origin, ...] = ()

    @property
    def about(self) -> str:
        """The entry in words."""
        path, key = self.key
        return self.words or layout.words(path.rpartition("/")[2], key if isinstance(key, bytes) else b"", self.value)


def from_text(text: bytes | str) -> bytes:
    """Hexadecimal digits, with or without blanks. Raises ValueError."""
    if isinstance(text, bytes):
        return text
    if not _HEX.fullmatch(text.lower()):
        raise ValueError(f"found {text!r}; allowed: bytes in hexadecimal digits: 0a 60 00 0a")
    return bytes.fromhex(text)
