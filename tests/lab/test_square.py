"""From every kind of cluster to every other and back on a running lab: all ordered pairs, in one round each, losses counted and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from reconciler import lab as labs
from reconciler.lab.nodes import Network, apply_all, clean_all, members, on_all, plan_node, text_network
from reconciler.lab.probe import probe, stream
from reconciler.lab.state import Lab

pytestmark = pytest.mark.lab

SUBNET = {1: 1, 2: 1, 3: 2, 4: 1} | dict.fromkeys(range(5, 9), 2) | dict.fromkeys(range(9, 13), 3)
EDGE = '  edge: {address: 192.168.7.20/24, podCIDRs: [10.244.99.0/24], site: edge, publicAddress: "198.51.100.13:14789"}\n'


class Shape(NamedTuple):
    """One sort of cluster, of machines that all of them share."""

    nodes: tuple[int, ...] = (1, 2, 3)
    direct: tuple[int, ...] = ()  # the nodes that allow it
    underlay: tuple[int, ...] = (4, 6)  # families of the nodes' addresses
    pods: tuple[int, ...] = (4, 6)
    fabric: str = "mode: auto"
    edge: bool = False

    @property
    def tunnel(self) -> int | None:
        """The family of the VXLAN device, if there is one; which remains, remains without a lost packet."""
        return None if "direct" in self.fabric else 6 if "ipv6" in self.fabric else self.underlay[0]

    @property
    def network(self) -> Network:
        lines = "".join(self._line(number) for number in self.nodes) + (EDGE if self.edge else "")
        where = ", ".join({4: "10.244.0.0/16", 6: '"fd00:10:244::/48"'}[family] for family in self.pods)
        return text_network(
            "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
            f"nodes:\n{lines}fabric: {{podNetwork: [{where}], {self.fabric}}}\ncni: {{}}\n"
        )

    def _line(self, number: int) -> str:
        subnet, allowed = SUBNET[number], str(number in self.direct).lower()
        addresses = {4: f"10.0.{subnet}.{10 + number}/24", 6: f'"fd00:{subnet}::{10 + number}/64"'}
        cidrs = {4: f"10.244.{number}.0/24", 6: f'"fd00:10:244:{number}::/64"'}
        said = [", ".join(values[family] for family in chosen) for values, chosen in ((addresses, self.underlay), (cidrs, self.pods))]
        return f"  n{number}: {{address: [{said[0]}], podCIDRs: [{said[1]}], directRouting: {allowed}}}\n"


SHAPES = {
    "IPv4 only": Shape(underlay=(4,), pods=(4,)),
    "IPv6 only": Shape(underlay=(6,), pods=(6,)),
    "dual stack": Shape(direct=(1, 2)),
    "IPv6 underlay": Shape(underlay=(6,), fabric="mode: auto, overlay: {underlay: ipv6}"),
    "one-sided": Shape(direct=(1,)),
    "no tunnel": Shape(nodes=(1, 2, 4), direct=(1, 2, 4), fabric="mode: direct"),
    "a node behind NAT": Shape(direct=(1, 2), underlay=(4,), pods=(4,), edge=True),
    "twelve nodes": Shape(nodes=tuple(range(1, 13)), direct=(1, 2, 3)),
}
NAMES = list(SHAPES)
SILENCE = 3.0  # seconds; a VXLAN device made anew, at two ends one after the other, on a busy machine


@pytest.mark.parametrize("start", NAMES[:-1])
def test_there_and_back(name: str, start: str, record_property: Callable[[str, object], None]) -> None:
    others = NAMES[NAMES.index(start) + 1 :]
    networks = {one: SHAPES[one].network for one in (start, *others)}
    lab = labs.raise_lab(name, [network.cluster for network in networks.values()])
    converge(lab, networks[start], start)
    told = []
    for other in others:
        told.append(change(lab, networks, start, other))
        told.append(change(lab, networks, other, start))
    record_property("transitions", told)
    print("\n".join(told))


def change(lab: Lab, networks: dict[str, Network], before: str, after: str) -> str:
    """From one to the other in one round on each node; what was lost between nodes of both."""
    what = f"{before} → {after}"
    was, becomes = (members(lab, networks[one]) for one in (before, after))
    common = {*SHAPES[before].pods} & {*SHAPES[after].pods}
    with stream(lab.topology, nodes=[one for one in becomes if one in was], families=sorted(common), every=0.02) as pings:
        converge(lab, networks[after], what)
    gone = [one for one in was if one not in becomes]
    assert all(result.converged for result in clean_all(lab, gone).values()), what
    matrix = probe(lab.topology, nodes=becomes, families=SHAPES[after].pods, within=5.0)
    assert matrix.ok, f"{what}\n{matrix.text}"
    lost = [f"{path}: {loss.lost}, silent for {loss.gap * 1000:.0f} ms" for path, loss in pings.losses.items() if loss.lost]
    said = "\n    ".join([f"{what}: {pings.lost} of {pings.sent} packets lost", *lost])
    assert all(loss.gap < SILENCE for loss in pings.losses.values()), said
    if SHAPES[before].tunnel == SHAPES[after].tunnel:
        assert pings.lost == 0, said
    return said


def converge(lab: Lab, network: Network, what: str) -> None:
    for one, result in apply_all(lab, network).items():
        assert result.converged, (what, one, result.errors)
        assert [failure for _, failure in result.outcomes if failure is not None] == [], (what, one)
        again = [action.ref for plan in result.plans[1:] for action in plan.actions if action.change.kind != "file"]
        assert again == [], f"{what} took {one} more than one round"  # only the CNI file comes after the rest, on purpose
    plans = on_all(members(lab, network), lambda one: plan_node(lab, network, one))
    assert [one for one, plan in plans.items() if not plan.empty] == [], what
