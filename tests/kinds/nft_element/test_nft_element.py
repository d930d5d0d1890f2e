"""Elements of sets: what netlink says is what nft says, and an unchanged ruleset costs no command."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import reconciler.kernel.node as kernel_node
from reconciler.engine.kind import Kinds
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import nft, nft_rule
from reconciler.kinds.nft import NftSet, chain
from reconciler.kinds.nft_element import KIND, NftElement, element
from reconciler.kinds.spelling import spelled
from reconciler.wire import nftables
from reconciler.wire.netlink import ATTRIBUTE, Malformed
from tests.namespaces import sh

TABLE = "plumbline-x"
SETS = [
    NftSet("four", ("ipv4_addr",)),
    NftSet("six", ("ipv6_addr",)),
    NftSet("mac", ("ether_addr",)),
    NftSet("port", ("inet_service",)),
    NftSet("pair", ("ipv4_addr", ".", "inet_service")),
    NftSet("many", ("ipv6_addr", ".", "ether_addr", ".", "inet_service")),
    NftSet("span", ("ipv4_addr",), "interval"),
    NftSet("brief", ("ipv4_addr",), "dynamic,timeout"),
    NftSet("verdicts", ("ipv4_addr", ":", "verdict"), what="map"),
]
ELEMENTS = [
    element("", "inet", TABLE, "four", "10.0.0.1"),
    element("", "inet", TABLE, "four", "10.0.0.2"),
    element("", "inet", TABLE, "six", "fd00::1"),
    element("", "inet", TABLE, "mac", "02:00:00:00:00:01"),
    element("", "inet", TABLE, "port", 4789),
    element("", "inet", TABLE, "pair", "198.51.100.13", 14789),
    element("", "inet", TABLE, "many", "fd00::1", "02:00:00:00:00:01", 80),
]
PRINTED = {
    "four": ["10.0.0.1", "10.0.0.2"],
    "six": ["fd00::1"],
    "mac": ["02:00:00:00:00:01"],
    "port": [4789],
    "pair": [{"concat": ["198.51.100.13", 14789]}],
    "many": [{"concat": ["fd00::1", "02:00:00:00:00:01", 80]}],
}


@pytest.fixture
def node(netns: str) -> Iterator[KernelNode]:
    made = KernelNode()
    yield made
    made.close()


@pytest.fixture
def engine(node: KernelNode) -> Round:
    return Round(node, Kinds([KIND, nft.KIND, nft_rule.KIND]))


def scope(*elements: NftElement, rule: str = "accept", sets: list[NftSet] = SETS, netns: str = "") -> Scope:
    table = nft.nft(netns, "inet", TABLE, [chain("c", rule)], sets)
    return Scope(("", *([netns] if netns else [])), Wanted({"nft": {table.key: table}, "nft_element": {one.key: one for one in elements}}))


def printed(name: str) -> list[object]:
    found = json.loads(sh(f"nft -j list set inet {TABLE} {name}"))["nftables"][1]["set"].get("elem", [])
    return sorted(found, key=str)


def converged(result: Result) -> Result:
    assert result.converged, (result.errors, result.last)
    assert all(outcome.failure is None for outcome in result.outcomes), result.outcomes
    assert len(result.plans) <= 2, "one pass"
    return result


@pytest.mark.kernel
def test_elements_of_every_type_are_made_and_seen_as_nft_prints_them(engine: Round) -> None:
    made = converged(engine.converge(scope(*ELEMENTS)))
    assert {name: printed(name) for name in PRINTED} == PRINTED
    sh(f"nft delete table inet {TABLE}")
    sh("\n".join(str(line) for action in made.first.actions for line in action.lines))
    assert engine.plan(scope(*ELEMENTS))[0].empty, "the pasted lines do what apply does"


@pytest.mark.kernel
def test_what_somebody_changes_is_repaired_element_by_element(engine: Round) -> None:
    converged(engine.converge(scope(*ELEMENTS)))
    sh(f"nft delete element inet {TABLE} four '{{ 10.0.0.1 }}'; nft add element inet {TABLE} pair '{{ 10.9.9.9 . 9 comment \"mine\" }}'")
    result = converged(engine.converge(scope(*ELEMENTS)))
    assert sorted(str(line) for action in result.first.actions for line in action.lines) == [
        f"nft add element inet {TABLE} four '{{ 10.0.0.1 }}'",
        f"nft delete element inet {TABLE} pair '{{ 10.9.9.9 . 9 }}'",
    ]


@pytest.mark.kernel
def test_a_table_made_anew_keeps_the_elements(engine: Round) -> None:
    converged(engine.converge(scope(*ELEMENTS)))
    result = converged(engine.converge(scope(*ELEMENTS[1:], rule="drop")))
    assert "drop" in sh(f"nft list chain inet {TABLE} c")
    assert printed("four") == ["10.0.0.2"]
    assert printed("pair") == PRINTED["pair"]
    assert len(result.outcomes) == len(ELEMENTS) + 1


@pytest.mark.kernel
def test_sets_of_other_sorts_and_other_peoples_are_left_alone(engine: Round) -> None:
    converged(engine.converge(scope(*ELEMENTS)))
    sh(
        f"nft add element inet {TABLE} span '{{ 10.1.0.0/16 }}'; nft add element inet {TABLE} verdicts '{{ 10.0.0.9 : accept }}';"
        f"nft add element inet {TABLE} brief '{{ 10.0.0.9 timeout 1h }}'; nft add table ip theirs;"
        "nft add set ip theirs s '{ type ipv4_addr ; }'; nft add element ip theirs s '{ 10.0.0.9 }'"
    )
    assert engine.plan(scope(*ELEMENTS))[0].empty
    converged(engine.converge(Scope(("",), Wanted())))
    assert "10.0.0.9" in sh("nft list set ip theirs s")


@pytest.mark.kernel
def test_a_warm_look_runs_no_command(engine: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    converged(engine.converge(scope(*ELEMENTS)))
    run: list[str] = []
    real = kernel_node.read_tool
    monkeypatch.setattr(kernel_node, "read_tool", lambda netns, words, *rest: run.append(" ".join(words)) or real(netns, words, *rest))
    assert engine.plan(scope(*ELEMENTS))[0].empty
    assert run == []
    sh("nft add table ip theirs")
    assert engine.plan(scope(*ELEMENTS))[0].empty
    assert run == [f"nft -s -t -y list table inet {TABLE}"], "somebody changed something: it is read again"


@pytest.mark.kernel
def test_a_name_that_stands_for_another_namespace_is_read_again(node: KernelNode, netns: str) -> None:
    name = f"{netns}-pod"
    engine = Round(node, Kinds([KIND, nft.KIND]))
    wanted = scope(element(name, "inet", TABLE, "four", "10.0.0.1"), netns=name)
    sh(f"ip netns add {name}")
    try:
        converged(engine.converge(wanted))
        first = sh(f"ip netns exec {name} nft list ruleset")
        sh(f"ip netns del {name}; ip netns add {name}")
        converged(engine.converge(wanted))
        assert sh(f"ip netns exec {name} nft list ruleset") == first
    finally:
        sh(f"ip netns del {name}")


@pytest.mark.kernel
def test_what_nft_refuses_holds_up_nothing_else(engine: Round) -> None:
    """One transaction without what it is refused for, not ten thousand."""
    bad = [element("", "inet", TABLE, "port", f"10.0.0.{number}") for number in range(3)]
    result = engine.converge(scope(*ELEMENTS, *bad))
    assert sorted(error.split(":")[0] for error in result.errors) == sorted(f"{KIND.ref(one)}" for one in bad)
    assert {name: printed(name) for name in PRINTED} == PRINTED


@pytest.mark.kernel
def test_elements_without_their_table_say_so_once_each(engine: Round) -> None:
    nowhere = nft.nft("", "inet", TABLE, [chain("c", "jump nowhere")], SETS)
    wanted = Wanted({"nft": {nowhere.key: nowhere}, "nft_element": {one.key: one for one in ELEMENTS}})
    result = engine.converge(Scope(("",), wanted))
    assert len(result.errors) == len(ELEMENTS) + 1
    assert sum("is refused" in error for error in result.errors) == len(ELEMENTS)


@pytest.mark.kernel
def test_what_did_not_change_is_the_very_same_row(node: KernelNode, engine: Round) -> None:
    converged(engine.converge(scope(*ELEMENTS)))
    before = {one.key: one for one in KIND.observe(node, scope())}
    sh(f"nft add element inet {TABLE} four '{{ 10.0.0.3 }}'")
    after = {one.key: one for one in KIND.observe(node, scope())}
    assert len(after) == len(before) + 1
    assert all(after[key] is row for key, row in before.items())


@pytest.mark.kernel
def test_thousands_are_seen_as_nft_sees_them(engine: Round) -> None:
    many = [element("", "inet", TABLE, "four", f"10.{number >> 8}.{number & 255}.1") for number in range(5000)]
    converged(engine.converge(scope(*many)))
    assert printed("four") == sorted(one.key.value[0] for one in many)


def test_elements_of_one_shape_are_cut_as_one_by_one() -> None:
    def nest(kind: int, payload: bytes) -> bytes:
        return ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)

    def whole(raw: bytes, more: bytes = b"") -> bytes:
        return nest(1, nest(1, nest(1, raw)) + more)

    for length in (2, 4, 6, 16):
        keys = [bytes([number]) * length for number in range(5)]
        same = b"".join(whole(key) for key in keys)
        odd = b"".join(whole(key, nest(6, b"note") if key[0] == 2 else b"") for key in keys)
        assert nftables.keys(same, length) == keys
        assert nftables.keys(odd, length) == keys
        with pytest.raises(Malformed):
            nftables.keys(same[:-2], length)
        with pytest.raises(Malformed):
            nftables.keys(odd, length + 2)
    assert nftables.keys(b"", 4) == []


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (("FD00:0::1",), ("fd00::1",)),
        (("0A:00:00:00:00:01",), ("0a:00:00:00:00:01",)),
        (("10.0.0.1 . 80",), ("10.0.0.1", ".", "80")),
        (("080",), ("80",)),
    ],
)
def test_values_have_one_spelling(written: tuple[str, ...], value: tuple[str, ...]) -> None:
    row = element("", "inet", TABLE, "s", "10.0.0.1")
    assert spelled(row._replace(key=row.key._replace(value=written))).key.value == value


@pytest.mark.parametrize("written", [("node1",), ("10.0.0.0/8",), ("70000",), ("10.0.0.1", "80"), ("10.0.0.1", "."), (), ("}; flush",)])
def test_what_is_no_value_is_refused(written: tuple[str, ...]) -> None:
    """A name would be resolved by nft, at the time that it runs."""
    row = element("", "inet", TABLE, "s", "10.0.0.1")
    with pytest.raises(ValueError, match="allowed"):
        spelled(row._replace(key=row.key._replace(value=written)))
