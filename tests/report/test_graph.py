"""Pictures of a cluster: what they say is what transports are, whatever is in the names, for three nodes and for ten thousand."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.facts.model import Endpoint, Facts, Node, NodeAddress
from reconciler.intents.transport import Mode, transport
from reconciler.report.graph import Graph, TooMany, graph, star
from reconciler.report.graph_mermaid import mermaid, star_mermaid
from reconciler.report.graph_svg import star_svg, svg
from reconciler.spec.model import ClusterNetwork
from tests.cli.test_cli import QUICKSTART, plumbline

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text></svg><script>alert(1)</script>&\"'`]|;%%{init}%% x\n  click n0 \x1b[31m #35; :::c"


def spec(mode: str = "auto") -> ClusterNetwork:
    return ClusterNetwork.model_validate({"apiVersion": "plumbline.dev/v1alpha1", "kind": "ClusterNetwork", "fabric": {"mode": mode}})


def facts(nodes: Iterable[Node]) -> Facts:
    return Facts({node.name: node for node in nodes})


def cluster(count: int, per_subnet: int = 45, **more: object) -> Facts:
    def node(number: int) -> Node:
        subnet, host = divmod(number, per_subnet)
        address = NodeAddress(f"10.{subnet // 250}.{subnet % 250}.{host + 1}", 24)
        return Node(f"n{number}", (address,), (f"100.64.{number % 250}.0/24",), direct_routing=number % 9 != 0, **more)  # type: ignore[arg-type]

    return facts(map(node, range(count)))


NODES = st.builds(
    Node,
    name=st.just(""),
    addresses=st.lists(
        st.builds(NodeAddress, st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1", "fd00:1::1"]), st.sampled_from([None, 16, 24])),
        unique_by=lambda one: one.family, max_size=2,
    ).map(tuple),
    pod_cidrs=st.lists(st.sampled_from(["10.244.0.0/24", "fd00:10::/64"]), unique=True).map(tuple),
    site=st.sampled_from(["", "cloud"]),
    direct_routing=st.sampled_from([None, False, True]),
)  # fmt: skip


@given(st.lists(NODES, max_size=9), st.sampled_from(["auto", "overlay", "direct", "none"]))
def test_it_says_of_every_pair_what_the_transport_is(nodes: list[Node], mode: Mode) -> None:
    named = [node._replace(name=f"n{index}") for index, node in enumerate(nodes)]
    made = graph("x", spec(mode), facts(named))
    pairs = {(a.name, b.name): transport(a, b, mode).via for a, b in combinations(named, 2)}
    assert Counter(pairs.values()) == _pairs(made)
    by_name = {node.name: node for node in named}
    assert all(transport(*(by_name[name] for name in tie.example), mode) == (tie.via, tie.why) for tie in made.ties)
    for group in made.groups:
        for a, b in combinations(group.spots, 2):
            assert (a.direct and b.direct) == (transport(a.node, b.node, mode).via == "direct"), "one rail: every pair on it, and no other"
    spots = [spot for group in made.groups for spot in group.spots]
    assert sorted(spot.node.name for spot in spots) == sorted(by_name)
    for spot in spots:
        assert spot.overlay == any(via == "overlay" for names, via in pairs.items() if spot.node.name in names)
    for node in named:
        told = {spot.node.name: ray.via for ray in star("x", spec(mode), facts(named), node.name).rays for spot in ray.group.spots}
        assert told == {other.name: transport(node, other, mode).via for other in named if other is not node}


def _pairs(made: Graph) -> Counter[str]:
    found: Counter[str] = Counter()
    for tie in made.ties:
        found[tie.via] += tie.pairs
    return found


def drawn(text: str) -> ET.Element:
    """Checked: nothing but shapes and words, everything within the picture, no card on another, and words within their card."""
    root = ET.fromstring(text)  # noqa: S314
    wide, high = (float(root.attrib[name]) for name in ("width", "height"))
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {"svg", "title", "style", "rect", "text", "path", "circle", "g"}
    boxes = {
        sort: [
            tuple(float(one.attrib[name]) for name in ("x", "y", "width", "height"))
            for one in root.iter(f"{SVG}rect")
            if one.get("class") == sort
        ]
        for sort in ("box", "card", "bus")
    }
    for x, y, w, h in (box for found in boxes.values() for box in found):
        assert x >= 0
        assert y >= 0
        assert x + w <= wide
        assert y + h <= high
    for sort, found in boxes.items():
        for a, b in combinations(found, 2):
            assert a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1], f"one {sort} lies on another"
    for card in root.iter(f"{SVG}g"):
        frame = card.find(f"{SVG}rect")
        assert frame is not None
        for line in card.iter(f"{SVG}text"):
            assert float(line.attrib["x"]) + 7.3 * len(line.text or "") <= float(frame.attrib["x"]) + float(frame.attrib["width"]) + 0.6
            assert float(line.attrib["y"]) <= float(frame.attrib["y"]) + float(frame.attrib["height"])
    for line in root.iter(f"{SVG}text"):
        assert float(line.attrib["y"]) <= high
        if line.get("text-anchor") == "start":
            assert float(line.attrib["x"]) + 7.3 * len(line.text or "") <= wide
    return root


def words(root: ET.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("count", [1, 2, 3, 12, 24, 25, 200])
@pytest.mark.parametrize("mode", ["auto", "overlay", "direct", "none"])
def test_any_number_of_nodes_is_drawn_within_the_picture(count: int, mode: str) -> None:
    made = graph("branch", spec(mode), cluster(count, 7))
    said = words(drawn(svg(made)))
    assert f"branch: {count} node{'s' * (count > 1)}, {-(-count // 7)} subnet{'s' * (count > 7)}" in said
    if count <= 24:
        assert {f"n{number}" for number in range(count)} <= set(said)
    drawn(star_svg(star("branch", spec(mode), cluster(count, 7), "n0")))


def test_long_and_many_addresses_fit() -> None:
    node = Node("n" * 63 + ".example.org", (NodeAddress("10.0.0.1", 24), NodeAddress("2001:db8:1111:2222:3333:4444:5555:6666", 64)),
                ("100.64.0.0/24", "2001:db8:aaaa:bbbb:cccc::/80"), site="s" * 63, public_addresses=(Endpoint("2001:db8:1111:2222:3333:4444:5555:7777", 4789),))  # fmt: skip
    other = node._replace(name="m" * 80, addresses=(NodeAddress("10.9.9.9", 8),))
    drawn(svg(graph("t" * 90, spec(), facts([node, other]))))
    drawn(star_svg(star("t" * 90, spec(), facts([node, other]), node.name)))


def test_ten_thousand_nodes_are_a_picture_of_their_subnets() -> None:
    made = graph("big", spec(), cluster(10_000, 200))
    assert _pairs(made).total() == 10_000 * 9_999 // 2
    root = drawn(svg(made))
    assert "big: 10,000 nodes, 50 subnets" in words(root)
    assert len(list(root.iter())) < 1000
    assert len(mermaid(made).splitlines()) < 200
    assert len(list(drawn(star_svg(star("big", spec(), cluster(10_000, 20), "n7"))).iter())) < 1200


def test_more_subnets_than_a_picture_holds_are_told_in_one_box_and_far_more_in_none() -> None:
    assert "9 more subnets" in words(drawn(svg(graph("x", spec(), cluster(69, 1)))))
    with pytest.raises(TooMany, match="--node"):
        graph("x", spec(), cluster(700, 1))


def test_the_same_cluster_is_the_same_picture_in_whatever_order_it_is_told() -> None:
    known = cluster(40, 9)
    turned = Facts(dict(reversed(known.nodes.items())))
    for draw in (svg, mermaid):
        assert draw(graph("x", spec(), known)) == draw(graph("x", spec(), turned))
    for draw_star in (star_svg, star_mermaid):
        assert draw_star(star("x", spec(), known, "n3")) == draw_star(star("x", spec(), turned, "n3"))


@pytest.mark.parametrize("count", [3, 40])
def test_whatever_is_in_a_name_stays_a_name(count: int) -> None:
    known = {
        node.name + HOSTILE: node._replace(name=node.name + HOSTILE, site=HOSTILE, where=HOSTILE) for node in cluster(count).nodes.values()
    }
    whole, one = graph(HOSTILE, spec(), Facts(known)), star(HOSTILE, spec(), Facts(known), f"n1{HOSTILE}")
    for text in (svg(whole), star_svg(one)):
        assert any("</text></svg><script>" in line for line in words(drawn(text))), "to be read, as it is"
        assert "\x1b" not in text
    for text in (mermaid(whole), star_mermaid(one)):
        _grammar(text)
        assert "script>" not in text
        assert "%%" not in text


_LABEL = r'"([A-Za-z0-9 .,:/_()…–·-]|#\d+;|<br/>)*"'
_ID = r"(n\d+_\d+|g\d+|d\d+|overlay|me)"
_LINES = (
    "flowchart LR", rf" +subgraph g\d+\[{_LABEL}\]", " +end", rf" +{_ID}\[{_LABEL}\]", rf" +overlay\{{\{{{_LABEL}\}}\}}", r" +d\d+\(\(direct\)\)",
    rf" +{_ID} (===|-\.-) {_ID}", rf" +{_ID} (===|-\.-|x--x)\|{_LABEL}\| {_ID}",
)  # fmt: skip


def _grammar(text: str) -> None:
    for line in text.splitlines():
        assert any(re.fullmatch(one, line) for one in _LINES), line


@pytest.mark.parametrize("mode", ["auto", "overlay", "direct", "none"])
@pytest.mark.parametrize("count", [1, 3, 24, 200])
def test_mermaid(count: int, mode: str) -> None:
    known = cluster(count, 5)
    text = mermaid(graph("x", spec(mode), known))
    _grammar(text)
    _grammar(star_mermaid(star("x", spec(mode), known, "n0")))
    if count <= 24:
        assert len(re.findall(r"^ +n\d+_\d+\[", text, re.MULTILINE)) == count
    assert (" -.- overlay" in text) == (mode in ("auto", "overlay") and count > 1)


def test_the_command_draws_and_says_what_is_wrong(tmp_path: Path) -> None:
    file = str(QUICKSTART)
    drawn(plumbline("graph", file).stdout)
    drawn(plumbline("graph", file, "--node", "n1").stdout)
    _grammar(plumbline("graph", file, "-o", "mermaid").stdout)
    _grammar(plumbline("graph", file, "-o", "mermaid", "--node", "n2").stdout)
    assert "n9 is not a node of network.yaml" in plumbline("graph", file, "--node", "n9", status=64).stderr
    empty = tmp_path / "network.yaml"
    empty.write_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n")
    assert "names no nodes; give them with --facts FILE" in plumbline("graph", str(empty), status=1).stderr
    assert "none.yaml: cannot be read: No such file" in plumbline("graph", str(tmp_path / "none.yaml"), status=1).stderr


def test_the_picture_in_the_documentation_is_what_the_command_draws() -> None:
    assert plumbline("graph", str(IMAGES / "network.yaml")).stdout == (IMAGES / "network.svg").read_text(), "make images"
