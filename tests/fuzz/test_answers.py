"""What a kernel or a tool answers, changed: every ending is rows, or "could not be observed"; never a traceback, never an endless walk.

An answer that cannot be read plans nothing: no row is deleted because of it.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.model import Seen, Wanted
from reconciler.engine.observe import observe
from reconciler.engine.pipeline import make_plan
from reconciler.engine.reader import ObservationFailed, Scope
from reconciler.engine.render import Renderer
from reconciler.engine.text import text
from reconciler.facts.merge import build_facts
from reconciler.facts.model import Host, Node
from reconciler.intents import Context, compile_node
from reconciler.kernel.host import observe_host
from reconciler.kernel.runners import _refused
from reconciler.kinds import all_kinds
from reconciler.kinds.spelling import spelled
from reconciler.spec.load import load_text
from tests.effort import examples
from tests.fuzz.recorded import Recorded, recorded
from tests.safety.node import SPEC

KINDS = all_kinds()
RENDERER = Renderer(KINDS)
ANSWERS = recorded()
DUMPS = sorted(question for question, answer in ANSWERS.items() if isinstance(answer, list))
TEXTS = sorted(question for question, answer in ANSWERS.items() if isinstance(answer, str))
ASKED_BY_BPF = {
    "bpf_folder",
    "bpf_map",
    "bpf_program",
    "bpf_map_entry",
    "cgroup_attachment",
    "qdisc",
    "tc_filter",
}  # fuzzed in tests/kinds/bpf
MORE = "cni: {confDir: /tmp/plumbline/cni/net.d}\n"


def wanted() -> Wanted:
    loaded = load_text(SPEC.replace("fabric:\n", "fabric:\n  forwardAccept: true\n") + MORE)
    facts = build_facts(loaded, [], Host("eth0", 1500))
    return compile_node(Context(loaded.spec, facts, "n1", loaded.where)).wanted


WANTED = wanted()


def look(node: Recorded) -> Seen:
    """See everything, plan, and print the plan, as a daemon and a person would."""
    seen = observe(KINDS, node, Scope(("",), WANTED))
    text(make_plan("n1", KINDS, RENDERER, WANTED, seen), "fuzz")
    try:
        observe_host(node, Node("n1"))
    except ObservationFailed as failure:
        assert str(failure)
    return seen


def test_what_was_recorded_is_all_understood_and_in_its_one_spelling() -> None:
    seen = look(Recorded(ANSWERS))
    assert not [seen.failure(name) for name in seen if seen.failure(name)]
    nothing = {name for name in KINDS if not seen.rows(name)}
    assert nothing <= {"wireguard", "wg_peer"} | ASKED_BY_BPF, "the kernel that was recorded has no WireGuard"
    for name in KINDS:
        for row in seen.rows(name):
            if name == "nexthop" and row.key.via == "group":
                continue  # only so that its id counts as taken
            if name in ("nft", "nft_rule") or (name == "link" and row.mtu > 65535) or (name == "link" and row.key.name == "lo"):
                continue  # nft's text has more than a plan can state; lo has no wanted row
            assert spelled(row) == row


def headers(buffer: bytes) -> list[int]:
    """Where lengths and types of messages and of the attributes of the first stand."""
    found, offset = [], 0
    while offset + 16 <= len(buffer):
        length = struct.unpack_from("=I", buffer, offset)[0]
        found += [offset, offset + 4]
        inner = offset + 16
        for fixed in (4, 8, 12, 16):
            at = inner + fixed
            while at + 4 <= min(offset + length, len(buffer)):
                size = struct.unpack_from("=H", buffer, at)[0]
                if size < 4:
                    break
                found += [at, at + 2]
                at += (size + 3) & ~3
        if length < 16:
            break
        offset += (length + 3) & ~3
    return found


@st.composite
def changed_bytes(draw: st.DrawFn, buffer: bytes) -> bytes:
    """Bits flipped, lengths that lie, ends cut off, parts doubled."""
    found = bytearray(buffer)
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["flip", "length", "length", "cut", "double", "noise"]))
        if not found:
            break
        at = draw(st.integers(0, len(found) - 1))
        if how == "flip":
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "length":
            places = [one for one in headers(bytes(found)) if one + 2 <= len(found)]
            if places:
                struct.pack_into(
                    "=H",
                    found,
                    draw(st.sampled_from(places)),
                    draw(st.sampled_from([0, 1, 3, 4, 5, 7, 8, 15, 16, 17, 255, 0x7FFF, 0xFFFF])),
                )
        elif how == "cut":
            del found[at:]
        elif how == "double":
            found[at:at] = found[at : at + draw(st.integers(1, 64))]
        else:
            noise = draw(st.binary(min_size=1, max_size=8))
            found[at : at + len(noise)] = noise
    return bytes(found)


@pytest.mark.parametrize("question", DUMPS)
@examples(30)
@given(data=st.data())
def test_no_bytes_lead_to_a_traceback(question: str, data: st.DataObject) -> None:
    changed = [data.draw(changed_bytes(buffer)) for buffer in ANSWERS[question]]
    look(Recorded(ANSWERS, lambda asked, answer: changed if asked == question else answer))


@examples(50)
@given(st.lists(st.binary(max_size=400), max_size=3))
def test_nor_do_any_others(noise: list[bytes]) -> None:
    seen = look(Recorded(ANSWERS, lambda asked, answer: noise if asked.startswith("dump") else answer))
    assert seen


@pytest.mark.parametrize("question", DUMPS)
def test_a_length_of_nothing_is_no_answer(question: str) -> None:
    """Every message that claims to be shorter than its header ends the walk."""
    for length in (0, 1, 15):
        broken = [struct.pack("=I", length) + buffer[4:] for buffer in ANSWERS[question]]
        seen = look(Recorded(ANSWERS, lambda asked, answer, broken=broken: broken if asked == question else answer))  # type: ignore[misc]
        assert [name for name in seen if seen.failure(name)], "read as if nothing were wrong"


@st.composite
def changed_text(draw: st.DrawFn, whole: str) -> str:
    """Lines left out, doubled, cut; words of other lines; anything in between."""
    found = whole
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(found)))
        how = draw(st.sampled_from(["cut", "drop", "double", "insert", "swap"]))
        if how == "cut":
            found = found[:at]
        elif how == "drop":
            found = found[:at] + found[at + draw(st.integers(1, 30)) :]
        elif how == "double":
            found = found[:at] + found[at : at + 40] * 2 + found[at + 40 :]
        elif how == "insert":
            odd = st.text(max_size=10) | st.sampled_from(
                ["{", "}", '"', "\n", "elements = {", "-", "chain", "table", "set x {", "priority", " # handle", "\0", "9" * 50]
            )
            found = found[:at] + draw(odd) + found[at:]
        else:
            lines = found.split("\n")
            found = "\n".join(draw(st.permutations(lines))) if len(lines) < 40 else found
    return found


@pytest.mark.parametrize("question", TEXTS)
@examples(30)
@given(data=st.data())
def test_no_text_of_a_tool_leads_to_a_traceback(question: str, data: st.DataObject) -> None:
    changed = data.draw(changed_text(ANSWERS[question]) | st.text(max_size=80))
    look(Recorded(ANSWERS, lambda asked, answer: changed if asked == question else answer))


@examples(100)
@given(st.lists(st.sampled_from(["Command failed -:3", "Command failed -:", "Command failed -:99999999999999999999", "RTNETLINK answers: File exists", "\n", "x"]) | st.text(max_size=20)))  # fmt: skip
def test_whatever_a_batch_complains_is_read_to_its_end(parts: list[str]) -> None:
    for number, message in _refused("\n".join(parts)):
        assert number >= 0
        assert message
