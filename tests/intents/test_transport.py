"""One transport per pair, the same seen from both ends."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.facts.model import Node, NodeAddress
from reconciler.intents.transport import Mode, transport


def node(name: str, *addresses: str, direct: bool | None = True, site: str = "", pods: tuple[str, ...] = ("10.244.1.0/24",)) -> Node:
    parts = [address.partition("/") for address in addresses]
    return Node(
        name,
        tuple(NodeAddress(address, int(prefix) if prefix else None) for address, _, prefix in parts),
        pods,
        site=site,
        direct_routing=direct,
    )


SIX = ("fd00:10::/64",)
BOTH = ("10.244.1.0/24", "fd00:10::/64")
PAIRS = [
    ("share a subnet", node("a", "10.0.1.1/24"), node("b", "10.0.1.2/24"), "direct"),
    ("one-sided", node("a", "10.0.1.1/24"), node("b", "10.0.1.2/24", direct=None), "overlay"),
    ("other subnet", node("a", "10.0.1.1/24"), node("b", "10.0.2.2/24"), "overlay"),
    ("other prefix length", node("a", "10.0.1.1/24"), node("b", "10.0.1.2/25"), "overlay"),
    ("unknown prefix length", node("a", "10.0.1.1"), node("b", "10.0.1.2"), "overlay"),
    ("other site, same addresses", node("a", "10.0.1.1/24", site="x"), node("b", "10.0.1.2/24", site="y"), "overlay"),
    ("IPv6 pods, IPv4 subnet only", node("a", "10.0.1.1/24", pods=SIX), node("b", "10.0.1.2/24", pods=SIX), "overlay"),
    ("IPv4 pods by an IPv6 gateway", node("a", "fd00::1/64"), node("b", "fd00::2/64"), "direct"),
    ("dual stack", node("a", "10.0.1.1/24", "fd00::1/64", pods=BOTH), node("b", "10.0.1.2/24", "fd00::2/64", pods=BOTH), "direct"),
]


@pytest.mark.parametrize(("a", "b", "via"), [pytest.param(*pair[1:], id=pair[0]) for pair in PAIRS])
def test_auto(a: Node, b: Node, via: str) -> None:
    assert transport(a, b, "auto").via == via


def test_direct_mode_needs_no_consent_and_says_what_has_no_path() -> None:
    a, b, c = node("a", "10.0.1.1/24", direct=None), node("b", "10.0.1.2/24", direct=None), node("c", "10.0.2.1/24")
    assert transport(a, b, "direct").via == "direct"
    assert transport(a, c, "direct").via == "none"
    assert "a and c name no common subnet" in transport(a, c, "direct").why


nodes = st.builds(
    node,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["10.0.1.1/24", "10.0.1.2/24", "10.0.2.1/24", "10.0.1.9", "fd00::1/64", "fd00:1::1/64"]),
    direct=st.sampled_from([True, False, None]),
    site=st.sampled_from(["", "x", "y"]),
    pods=st.sampled_from([("10.244.1.0/24",), SIX, BOTH]),
)


@given(nodes, nodes, st.sampled_from(["auto", "overlay", "direct", "none"]))
def test_both_ends_agree(a: Node, b: Node, mode: Mode) -> None:
    assume(a.name != b.name)
    assert transport(a, b, mode) == transport(b, a, mode)
