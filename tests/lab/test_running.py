"""A running cluster whose nodes come, go and move while every pod pings every other; what is lost is counted and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler import lab as labs
from reconciler.kernel.tools import run_tool
from reconciler.lab.dumps import changes, held
from reconciler.lab.nodes import Network, apply_all, clean_node, members, plan_node, text_network
from reconciler.lab.probe import WORLD, Stream, probe, stream
from reconciler.lab.state import Lab

pytestmark = pytest.mark.lab

BOTH, OLD = (4, 6), (4,)


def node(number: int, subnet: int, *, direct: bool = False, host: int = 0) -> Callable[[tuple[int, ...]], str]:
    """A line of network.yaml for the families of the cluster."""
    host = host or 10 + number

    def line(families: tuple[int, ...]) -> str:
        addresses = [f"10.0.{subnet}.{host}/24", f'"fd00:{subnet}::{host}/64"'][: len(families)]
        cidrs = [f"10.244.{number}.0/24", f'"fd00:10:244:{number}::/64"'][: len(families)]
        return f"  n{number}: {{address: [{', '.join(addresses)}], podCIDRs: [{', '.join(cidrs)}], directRouting: {str(direct).lower()}}}"

    return line


def spec(*nodes: Callable[[tuple[int, ...]], str], families: tuple[int, ...] = BOTH, mode: str = "auto") -> str:
    pods = ", ".join(["10.244.0.0/16", '"fd00:10:244::/48"'][: len(families)])
    lines = "\n".join(line(families) for line in nodes)
    return (
        "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
        f"nodes:\n{lines}\nfabric: {{podNetwork: [{pods}], mode: {mode}}}\ncni: {{}}\n"
    )


N1, N2, N3, N4 = node(1, 1), node(2, 1), node(3, 2), node(4, 2)
D1, D2 = node(1, 1, direct=True), node(2, 1, direct=True)
START = spec(N1, N2, N3)

# what happens, the spec, its families, and whether nothing at all may be lost between those who stay
Step = tuple[str, str, tuple[int, ...], bool]
MOVES: tuple[Step, ...] = (
    ("a node joins", spec(N1, N2, N3, N4), BOTH, True),
    ("a node leaves", spec(N1, N2, N4), BOTH, True),
    ("one comes back, another goes", START, BOTH, True),
    ("a node changes its address", spec(N1, node(2, 1, host=22), N3), BOTH, False),
    ("it changes back", START, BOTH, False),
    ("IPv6 goes", spec(N1, N2, N3, families=OLD), OLD, True),
    ("a pair goes direct", spec(D1, D2, N3, families=OLD), OLD, True),
    ("IPv6 comes, the pair back to the tunnel", START, BOTH, True),
)
MODES: tuple[Step, ...] = (
    ("no tunnel at all", spec(D1, D2, mode="direct"), BOTH, False),
    ("everything by the tunnel", spec(D1, D2, mode="overlay"), BOTH, False),
)


@pytest.mark.parametrize(("start", "steps"), [(START, MOVES), (spec(D1, D2, mode="overlay"), MODES)], ids=["moves", "modes"])
def test_a_running_cluster(name: str, start: str, steps: tuple[Step, ...], record_property: Callable[[str, object], None]) -> None:
    network = text_network(start)
    lab = labs.raise_lab(name, [network.cluster, *(text_network(text).cluster for _, text, _, _ in steps)])
    before = held(lab)
    converge(lab, network, "the start")
    told, families = [], BOTH
    for what, text, next_families, lossless in steps:
        there = text_network(text)
        told.append(step(lab, what, (network, there), tuple({*families} & {*next_families}), lossless))
        network, families = there, next_families
        matrix = probe(lab.topology, nodes=members(lab, network), families=families)
        assert matrix.ok, f"{what}\n{matrix.text}"
        gone = probe(lab.topology, families={*BOTH} - {*families}, within=0.2).answers
        between = [path for path, answer in gone.items() if answer and path.target != WORLD]  # the world: conntrack still knows the flows
        assert not between, f"{what}: IPv6 is still there"
    for machine in lab.topology.machines:
        assert clean_node(lab, machine.name).converged
    after = held(lab)
    assert [line for one in before for line in changes(before[one], after[one])] == []
    record_property("transitions", told)
    print("\n".join(told))


def converge(lab: Lab, network: Network, what: str) -> None:
    for one, result in apply_all(lab, network).items():
        assert result.converged, (what, one, result.errors)
        assert not result.errors, (what, one)
        assert all(failure is None for _, failure in result.outcomes), (what, one)
        assert plan_node(lab, network, one).empty, (what, one)


def step(lab: Lab, what: str, networks: tuple[Network, Network], families: tuple[int, ...], lossless: bool) -> str:
    before, after = (members(lab, network) for network in networks)
    with stream(lab.topology, nodes=[one for one in after if one in before], families=families, every=0.01) as pings:
        converge(lab, networks[1], what)
        for one in before:
            assert one in after or clean_node(lab, one).converged
    assert pings.sent
    assert not lossless or pings.lost == 0, f"{what}: {named(pings)}"
    assert all(loss.gap < 2 for loss in pings.losses.values()), f"{what}: {named(pings)}"
    return f"{what}: {pings.lost} of {pings.sent} packets lost{named(pings)}"


def named(pings: Stream) -> str:
    lost = [f"{path}: {loss.lost}, silent for {loss.gap * 1000:.0f} ms" for path, loss in pings.losses.items() if loss.lost]
    return "".join(f"\n    {one}" for one in lost)


def test_packets_that_are_lost_are_counted(name: str) -> None:
    """The counts above could not tell anything otherwise."""
    network = text_network(START)
    lab = labs.raise_lab(name, [network.cluster])
    converge(lab, network, "the start")
    with stream(lab.topology, every=0.01) as pings:
        run_tool(lab.topology.machine("n1").netns, ("ip", "route", "del", "10.244.3.0/24"))
        assert not probe(lab.topology, within=0.2).ok
        converge(lab, network, "the repair")
    lost = {(path.source, path.target, path.family) for path, loss in pings.losses.items() if loss.lost}
    assert lost == {("n1-p1", "n3-p1", 4), ("n3-p1", "n1-p1", 4)}
