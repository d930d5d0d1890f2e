"""What a kernel or an object file says, changed: it is read, or refused as not to be read; nothing else."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.reader import Place
from reconciler.kinds.qdisc import tc
from reconciler.wire import bpf
from reconciler.wire.bpf_object import MapLayout, read_object
from reconciler.wire.netlink import UNREADABLE, Malformed
from tests.effort import examples
from tests.kinds.bpf.ground import Ground, why_not


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    return Path(Ground("", "/p", "", str(tmp_path_factory.mktemp("objects"))).program().object).read_bytes()


def test_an_object_tells_its_programs_and_the_maps_that_they_use(small: bytes) -> None:
    found = read_object(small)
    assert found.programs == ("connect4", "egress", "ingress")
    assert found.maps == (MapLayout("pl_a_1", "hash", 8, 8), MapLayout("pl_j_1", "prog_array", 4, 4)), "the unused one is none of them"


@examples(300)
@given(data=st.data())
def test_a_changed_object_is_read_or_refused(small: bytes, data: st.DataObject) -> None:
    raw = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 5))
        raw[at : at + 4] = data.draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\0\0\0\x0c", raw[:4]]))
    cut = data.draw(st.sampled_from([len(raw), len(raw) // 2, 64, 3]))
    try:
        read_object(bytes(raw[:cut]))
    except Malformed as error:
        assert str(error)


@given(st.binary(max_size=120))
def test_any_bytes_are_no_information_or_some(raw: bytes) -> None:
    for read in (bpf.map_info, lambda given: bpf.program_info(given, bytes(4 * bpf.MAP_IDS))):
        try:
            read(raw)
        except Malformed as error:
            assert str(error)


def message(kind: int, handle: int, info: int, attributes: bytes) -> bytes:
    body = struct.pack("=BxHiIII", 0, 0, 2, handle, 0xFFFFFFF2, info) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 1) + body


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


OPTIONS = (
    attribute(6, b"") + attribute(7, b"ingress:[*fsobj]\0") + attribute(8, struct.pack("=I", 1)) + attribute(11, struct.pack("=I", 77))
)
FILTER = message(tc.RTM_NEWTFILTER, 0x94, 94 << 16 | 3, attribute(1, b"bpf\0") + attribute(2, OPTIONS))
WHOLE = message(tc.RTM_NEWTFILTER, 0, 94 << 16 | 3, attribute(1, b"bpf\0"))
QDISC = message(tc.RTM_NEWQDISC, 0xFFFF0000, 0, attribute(1, b"clsact\0"))
PLACE = Place("", {2: "eth0"})


def test_filters_and_qdiscs_are_read() -> None:
    assert list(tc.filters((WHOLE + FILTER,))) == [tc.Filter(94, 0x94, "bpf", 77, "ingress", True)]
    assert tc.qdiscs(PLACE, (QDISC,)) == {"eth0": (2, "clsact")}


@examples(200)
@given(data=st.data())
def test_changed_answers_are_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(QDISC + WHOLE + FILTER)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 3))
        raw[at : at + 2] = data.draw(st.sampled_from([b"\0\0", b"\xff\xff", b"\x04\0", b"\x10\0"]))
    for read in (lambda buffers: list(tc.filters(buffers)), lambda buffers: tc.qdiscs(PLACE, buffers)):
        with contextlib.suppress(UNREADABLE):
            read((bytes(raw),))
