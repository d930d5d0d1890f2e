"""Both ends of a pair agree: what each node writes of the other is what the other makes of itself, in every family, across sites and NAT."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.model import Unknown, Wanted
from reconciler.facts.model import Endpoint, Facts, Host, Node, NodeAddress
from reconciler.intents import Context, IntentError, compile_node
from reconciler.intents.vtep import link_local
from reconciler.spec.load import load_text
from tests.effort import examples

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nfabric: "
PUBLIC = {4: "198.51.100.{}", 6: "2001:db8::{}"}


@st.composite
def one_node(draw: st.DrawFn, name: str, number: int) -> Node:
    families = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    subnet = draw(st.integers(1, 2))
    prefix = draw(st.sampled_from([None, 0]))
    texts = {4: f"10.0.{subnet}.{number}", 6: f"fd00:{subnet}::{number}"}
    pods = {4: f"10.244.{number}.0/24", 6: f"fd00:10:244:{number}::/64"}
    stated = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    public = draw(st.sampled_from([(), (4,), (6,), (4, 6)]))
    return Node(
        name,
        tuple(NodeAddress(texts[family], (24 if family == 4 else 64) if prefix == 0 else None) for family in families),
        tuple(pods[family] for family in stated),
        site=draw(st.sampled_from(["", "home", "cloud"])),
        public_addresses=tuple(Endpoint(PUBLIC[family].format(number), draw(st.sampled_from([None, 14789]))) for family in public),
        direct_routing=draw(st.sampled_from([True, True, False, None])),
        interface="eth0",
        mtu=draw(st.sampled_from([None, 1500, 1400, 9000])),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, Node, Node]:
    mode = draw(st.sampled_from(["auto", "auto", "overlay", "direct", "none"]))
    text = f"{{mode: {mode}, podNetwork: [10.244.0.0/16, 'fd00:10:244::/48'], overlay: {{vni: {draw(st.integers(1, 9))}, onlyFromNodes: {draw(st.sampled_from(['true', 'false']))}}}}}\n"
    return text, draw(one_node("a", 1)), draw(one_node("b", 2))


def wanted(text: str, me: Node, other: Node) -> Wanted | None:
    loaded = load_text(HEAD + text)
    host = Host("eth0", me.mtu or 1500)
    try:
        return compile_node(Context(loaded.spec, Facts({node.name: node for node in (me, other)}, host), me.name, loaded.where)).wanted
    except IntentError:
        return None


def device(rows: Wanted) -> Any:
    return next((link for link in rows.rows("link") if link.type == "vxlan"), None)


@examples(300)
@given(pairs())
def test_what_one_end_writes_is_what_the_other_is(drawn: tuple[str, Node, Node]) -> None:
    text, a, b = drawn
    here, there = wanted(text, a, b), wanted(text, b, a)
    assert (here is None) is (there is None), "one end has an answer, the other has none"
    if here is None or there is None:
        return
    for mine, theirs, me, peer in ((here, there, a, b), (there, here, b, a)):
        entries = list(mine.rows("fdb"))
        assert bool(entries) is bool(list(theirs.rows("fdb"))), "a tunnel has two ends"
        routed = {row.key.dst for row in mine.rows("route")}
        assert routed in (set(), set(peer.pod_cidrs)), "the peer's pods, all of them or none"
        if peer.pod_cidrs and me.pod_cidrs:
            assert bool(routed) is bool(list(theirs.rows("route")))
        if not entries:
            continue
        own, other = device(mine), device(theirs)
        assert own.info._replace(local="") == other.info._replace(local="")
        (entry,) = entries
        assert entry.key.mac == other.mac
        known = [one.address for one in (*peer.addresses, *peer.public_addresses)]
        assert entry.dst in known
        public = {one.address: one.port for one in peer.public_addresses}
        family = ":" in other.info.local
        crosses = me.site != peer.site and any((":" in one) is family for one in public)
        assert (entry.dst in public) is crosses, "the public address across sites, else the node's own"
        assert entry.dst == other.info.local or crosses
        assert entry.port == ((public[entry.dst] or 0) if crosses else 0)
        assert (":" in entry.dst) is (":" in own.info.local), "one device, one family"
        theirs_here = {row.key.prefix.partition("/")[0] for row in theirs.rows("address") if row.key.dev == other.key.name}
        for neighbour in mine.rows("neighbour"):
            assert neighbour.lladdr == other.mac
            assert neighbour.key.address in theirs_here | {link_local(other.mac)}
        for route in mine.rows("route"):
            if route.mtu and not isinstance(other.mtu, Unknown):
                assert route.mtu <= min(own.mtu, other.mtu)
        if peer.mtu is not None and isinstance(own.mtu, int) and other.mtu < own.mtu:
            assert all(route.mtu == other.mtu for route in mine.rows("route")), "nothing tells a sender that the other end is smaller"
