"""Large dumps cut into messages, most of it without looking at each: what the kernel sends in bulk is mostly of one shape.

A buffer of one shape is checked and blanked by strided slices, a few dozen of them
for hundreds of messages; any other buffer is walked message by message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from reconciler.wire.netlink import ATTRIBUTE, HEADER, NLA_TYPE_MASK, Malformed, messages


class Ages(NamedTuple):
    """An attribute whose content changes by itself: behind a fixed header of `header` bytes, of type `attribute`."""

    header: int
    attribute: int


def payloads(buffers: Iterable[bytes], kind: int, ages: Ages | None = None) -> list[bytes]:
    """What follows nlmsghdr in every message of one type, ages blanked. Raises Malformed."""
    found: list[bytes] = []
    for buffer in buffers:
        same = _of_one_shape(buffer, kind, ages)
        if same is not None:
            found += same
            continue
        for whole, start, end in messages((buffer,), kind):
            payload = whole[start:end]
            found.append(_without(payload, ages) if ages else payload)
    return found


def alike(buffer: bytes, size: int) -> int:
    """The distance between messages that all begin with the same `size` bytes as the first; 0 where they do not."""
    if len(buffer) < HEADER.size:
        return 0
    length, _, _, _, _ = HEADER.unpack_from(buffer)
    stride: int = (length + 3) & ~3
    if length < HEADER.size or len(buffer) % stride or not _same(buffer, range(size), stride, len(buffer) // stride):
        return 0
    return stride


def _of_one_shape(buffer: bytes, kind: int, ages: Ages | None) -> list[bytes] | None:
    """The payloads of a buffer in which every message has the length and, up to the ages, the attributes of the first."""
    stride = alike(buffer, 6)  # nlmsg_len, nlmsg_type
    if not stride:
        return None
    length, first, _, _, _ = HEADER.unpack_from(buffer)
    if first != kind:
        return None
    count = len(buffer) // stride
    if ages is not None:
        headers = _headers(buffer, HEADER.size + ages.header, length, ages.attribute)
        if not all(_same(buffer, range(at, at + 4), stride, count) for at in headers):
            return None
        if headers and _type(buffer, headers[-1]) == ages.attribute:
            blank, zeros = bytearray(buffer), bytes(count)
            at = headers[-1]
            for position in range(at + 4, at + ATTRIBUTE.unpack_from(buffer, at)[0]):
                blank[position::stride] = zeros
            buffer = bytes(blank)
    return [buffer[start + HEADER.size : start + length] for start in range(0, len(buffer), stride)]


def _same(buffer: bytes, positions: Iterable[int], stride: int, count: int) -> bool:
    return all(buffer[at::stride] == buffer[at : at + 1] * count for at in positions)


def _headers(buffer: bytes, start: int, end: int, last: int) -> list[int]:
    """Where the attributes between two offsets begin, up to the first of type `last`."""
    found: list[int] = []
    while start + 4 <= end:
        size = ATTRIBUTE.unpack_from(buffer, start)[0]
        if size < 4 or start + size > end:
            raise Malformed(f"an attribute of {size} bytes with {end - start} left")
        found.append(start)
        if _type(buffer, start) == last:
            break
        start += (size + 3) & ~3
    return found


def _type(buffer: bytes, at: int) -> int:
    kind: int = ATTRIBUTE.unpack_from(buffer, at)[1]
    return kind & NLA_TYPE_MASK


def _without(payload: bytes, ages: Ages) -> bytes:
    headers = _headers(payload, ages.header, len(payload), ages.attribute)
    if not headers or _type(payload, headers[-1]) != ages.attribute:
        return payload
    at = headers[-1]
    size = ATTRIBUTE.unpack_from(payload, at)[0]
    return payload[: at + 4] + bytes(size - 4) + payload[at + size :]
