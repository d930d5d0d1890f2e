"""What an eBPF object file says of its programs and maps: ELF (elf(5)) and BTF (Documentation/bpf/btf.rst in the kernel).

Whoever loads an object onto pinned maps has to compare their sizes: neither libbpf nor the kernel does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from reconciler.wire.bpf import MAP_TYPES
from reconciler.wire.netlink import Malformed

_ELF64, _EM_BPF, _SHT_REL, _SHF_EXECINSTR, _STT_FUNC, _STB_LOCAL = 2, 247, 9, 0x4, 2, 0
_BTF_MAGIC = 0xEB9F
# enum BTF_KIND_*
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 1, 2, 3, 4, 5, 6, 8, 9, 10, 11
_FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _TYPE_TAG, _ENUM64 = 13, 14, 15, 17, 18, 19
_MOST = 64  # types that lead to one another
_UNREADABLE = (struct.error, IndexError, KeyError, UnicodeDecodeError, ValueError)


class MapLayout(NamedTuple):
    """What an object's programs take a map to be; sizes in bytes."""

    name: str
    type: str
    key_size: int
    value_size: int


class ObjectFile(NamedTuple):
    """An eBPF object: its programs, and the maps that these use."""

    programs: tuple[str, ...]
    maps: tuple[MapLayout, ...]


class _Section(NamedTuple):
    name: str
    type: int
    flags: int
    content: bytes
    info: int  # of relocations: the section that they are in


class _Symbol(NamedTuple):
    name: str
    bind: int
    type: int
    section: int


def read_object(raw: bytes) -> ObjectFile:
    """The programs and maps of an object. Raises Malformed."""
    try:
        return _read(raw)
    except _UNREADABLE as error:
        raise Malformed(f"no eBPF object: {error or type(error).__name__}") from error


def _read(raw: bytes) -> ObjectFile:
    if raw[:5] != b"\x7fELF\x02" or raw[5] not in (1, 2):
        raise Malformed("no ELF file of 64 bits")
    order = "<" if raw[5] == 1 else ">"
    if struct.unpack_from(f"{order}H", raw, 18)[0] != _EM_BPF:
        raise Malformed("no eBPF object")
    sections = _sections(raw, order)
    symbols = _symbols(sections, order)
    code = {index for index, one in enumerate(sections) if one.flags & _SHF_EXECINSTR and one.content}
    starts = {index for index in code if sections[index].name != ".text"}
    programs = sorted(one.name for one in symbols if one.type == _STT_FUNC and one.bind != _STB_LOCAL and one.section in starts)
    numbers = {index: one.name for index, one in enumerate(sections)}
    used = {
        symbols[number].name
        for one in sections
        if one.type == _SHT_REL and one.info in code
        for number in _relocated(one.content, order)
        if numbers.get(symbols[number].section) == ".maps"
    }
    layouts = {one.name: one for one in _Btf(_content(sections, ".BTF"), order).maps()} if used else {}
    if used - layouts.keys():
        raise Malformed(f"nothing says what {', '.join(sorted(used - layouts.keys()))} is like: built without -g?")
    return ObjectFile(tuple(programs), tuple(layouts[name] for name in sorted(used)))


def _sections(raw: bytes, order: str) -> list[_Section]:
    start, size, count, names = (*struct.unpack_from(f"{order}Q", raw, 40), *struct.unpack_from(f"{order}HHH", raw, 58))
    headers = [struct.unpack_from(f"{order}IIQQQQIIQQ", raw, start + number * size) for number in range(count)]
    texts = raw[headers[names][4] : headers[names][4] + headers[names][5]]
    return [_Section(_string(texts, one[0]), one[1], one[2], raw[one[4] : one[4] + one[5]], one[7]) for one in headers]


def _symbols(sections: list[_Section], order: str) -> list[_Symbol]:
    table, texts = _content(sections, ".symtab"), _content(sections, ".strtab")
    found = struct.iter_unpack(f"{order}IBBHQQ", table)
    return [_Symbol(_string(texts, name), info >> 4, info & 0xF, section) for name, info, _, section, _, _ in found]


def _relocated(content: bytes, order: str) -> Iterator[int]:
    """The numbers of the symbols that code refers to."""
    return (info >> 32 for _, info in struct.iter_unpack(f"{order}QQ", content))


def _content(sections: list[_Section], name: str) -> bytes:
    found = next((one.content for one in sections if one.name == name), None)
    if found is None:
        raise Malformed(f"an object without {name}")
    return found


def _string(texts: bytes, start: int) -> str:
    return texts[start : texts.index(b"\0", start)].decode()


class _Type(NamedTuple):
    name: str
    kind: int
    size: int  # or the number of another type, where it leads to one
    members: tuple[tuple[int, ...], ...]  # of a struct: name, type, offset; of an array: type, index type, count; of a section: type, …


class _Btf:
    """The types of an object, by number."""

    def __init__(self, raw: bytes, order: str) -> None:
        magic, _, _, header, types, types_size, texts, texts_size = struct.unpack_from(f"{order}HBBIIIII", raw)
        if magic != _BTF_MAGIC:
            raise Malformed("BTF without its magic number")
        self._order = order
        self._texts = raw[header + texts : header + texts + texts_size]
        self._raw = raw[header + types : header + types + types_size]

    def maps(self) -> Iterator[MapLayout]:
        """What stands in the section .maps."""
        for section in self._types:
            if section.kind == _DATASEC and section.name == ".maps":
                for number, _, _ in section.members:
                    variable = self._types[number]
                    yield self._map(variable.name, self._plain(variable.size))

    @cached_property
    def _types(self) -> list[_Type]:
        found, at = [_Type("void", 0, 0, ())], 0
        while at < len(self._raw):
            name, info, size = struct.unpack_from(f"{self._order}III", self._raw, at)
            count, kind = info & 0xFFFF, info >> 24 & 0x1F
            shape, count = _SHAPES.get(kind, ("", 0)) if kind in _SINGLE else (_SHAPES.get(kind, ("", 0))[0], count)
            part = struct.Struct(self._order + shape)
            end = at + 12 + part.size * count
            members = tuple(part.iter_unpack(self._raw[at + 12 : end])) if shape and count else ()
            if end > len(self._raw):
                raise Malformed("BTF ends inside a type")
            found.append(_Type(_string(self._texts, name), kind, size, members))
            at = end
        return found

    def _plain(self, number: int) -> _Type:
        """A type without what only qualifies it."""
        for _ in range(_MOST):
            found = self._types[number]
            if found.kind not in (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG):
                return found
            number = found.size
        raise Malformed("BTF types that lead to themselves")

    def _map(self, name: str, shape: _Type) -> MapLayout:
        """struct { __uint(type, …); __type(key, …); … }: numbers are lengths of arrays, types are pointed to."""
        told = {_string(self._texts, member): self._plain(number) for member, number, _ in shape.members}
        number = self._length(told["type"])
        return MapLayout(name, MAP_TYPES.get(number, f"type {number}"), self._part(told, "key"), self._part(told, "value"))

    def _part(self, told: dict[str, _Type], what: str) -> int:
        if f"{what}_size" in told:
            return self._length(told[f"{what}_size"])
        return self._size(told[what].size) if what in told else 0

    def _length(self, pointer: _Type) -> int:
        return self._plain(pointer.size).members[0][2]

    def _size(self, number: int, depth: int = 0) -> int:
        found = self._plain(number)
        if depth > _MOST:
            raise Malformed("BTF arrays that lead to themselves")
        if found.kind == _ARRAY:
            inner, _, count = found.members[0]
            return count * self._size(inner, depth + 1)
        if found.kind == _PTR:
            return 8
        if found.kind not in (_INT, _STRUCT, _UNION, _ENUM, _ENUM64):
            raise Malformed(f"{found.name or 'a type'} has no size")
        return found.size


_SINGLE = frozenset({_INT, _ARRAY, _VAR, _DECL_TAG})  # followed by one record, however many members they claim
_SHAPES = {
    **{_INT: ("I", 1), _ARRAY: ("III", 1), _VAR: ("I", 1), _DECL_TAG: ("i", 1)},
    **{_STRUCT: ("III", 0), _UNION: ("III", 0), _ENUM: ("Ii", 0), _ENUM64: ("III", 0), _FUNC_PROTO: ("II", 0), _DATASEC: ("III", 0)},
}
