"""Dumps cut by slices mean what they mean message by message."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from reconciler.wire.bulk import Ages, payloads

NEWNEIGH = 28
AGES = Ages(12, 3)

attribute = st.tuples(st.integers(1, 6), st.integers(0, 5).map(lambda words: words * 4))  # type, bytes of content


def message(kind: int, shape: list[tuple[int, int]], filler: int) -> bytes:
    body = bytes((filler,)) * 12
    for number, size in shape:
        body += struct.pack("=HH", 4 + size, number) + bytes((filler,)) * size
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 7, 9) + body


def one_by_one(shape: list[tuple[int, int]], filler: int) -> bytes:
    """What `payloads` should give for a message: the first attribute of type 3 is all zeros."""
    body, blanked = bytes((filler,)) * 12, False
    for number, size in shape:
        ages = number == AGES.attribute and not blanked
        blanked |= ages
        body += struct.pack("=HH", 4 + size, number) + bytes((0 if ages else filler,)) * size
    return body


shapes = st.lists(attribute, max_size=5)
buffers = st.one_of(
    st.tuples(shapes, st.lists(st.integers(1, 255), min_size=1, max_size=20)).map(lambda pair: [(pair[0], one) for one in pair[1]]),
    st.lists(st.tuples(shapes, st.integers(1, 255)), max_size=8),
)


@given(st.lists(buffers, max_size=4))
def test_payloads_of_any_shapes(dump: list[list[tuple[list[tuple[int, int]], int]]]) -> None:
    raw = [b"".join(message(NEWNEIGH, shape, filler) for shape, filler in buffer) for buffer in dump]
    assert payloads(raw, NEWNEIGH, AGES) == [one_by_one(shape, filler) for buffer in dump for shape, filler in buffer]
    assert payloads(raw, NEWNEIGH) == [message(0, shape, filler)[16:] for buffer in dump for shape, filler in buffer]


def test_messages_of_other_types_are_left_out() -> None:
    raw = message(NEWNEIGH, [(1, 4)], 5) + message(3, [], 0) + message(NEWNEIGH, [(1, 4)], 6)
    assert payloads([raw], NEWNEIGH) == [one_by_one([(1, 4)], 5), one_by_one([(1, 4)], 6)]


def test_same_lengths_but_other_attributes_are_walked() -> None:
    shapes_of_one_length = [[(1, 4), (3, 8)], [(3, 8), (1, 4)]]
    raw = b"".join(message(NEWNEIGH, shape, 9) for shape in shapes_of_one_length)
    assert payloads([raw], NEWNEIGH, AGES) == [one_by_one(shape, 9) for shape in shapes_of_one_length]
