"""No packet lost: real daemons are edited, restarted and killed while packets flow as fast as their answers come back.

Beside the packets, the daemons' own counters say that a change was really made, and in place.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NamedTuple

import pytest

from reconciler import lab as labs
from reconciler.kernel.tools import run_tool
from reconciler.lab.nodes import text_network
from reconciler.lab.probe import WORLD, stream
from reconciler.lab.state import Lab
from tests.lab.daemons import Cluster, cluster
from tests.lab.flood import flood

pytestmark = pytest.mark.lab

TIMES = 2  # that an edit is made and taken back: one hole between two commands may fall between two packets


def node(number: int, subnet: int, more: str = "", *, hosts: tuple[int, ...] = ()) -> str:
    """hosts: the last part of its addresses, the one in use first."""
    addresses = [f'10.0.{subnet}.{host}/24, "fd00:{subnet}::{host}/64"' for host in hosts or (10 + number,)]
    return f'  n{number}: {{address: [{", ".join(addresses)}], podCIDRs: [10.244.{number}.0/24, "fd00:10:244:{number}::/64"]{more}}}\n'


def spec(*nodes: str, overlay: str = "", more: str = "", mode: str = "auto") -> str:
    return (
        "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes:\n"
        + "".join(nodes)
        + f'fabric: {{podNetwork: [10.244.0.0/16, "fd00:10:244::/48"], mode: {mode}, overlay: {{{overlay}}}}}\n'
        f"limits: {{maxDeletes: 100%}}\n{more}"
    )


def by_hand(metric: int = 100, mtu: int = 0) -> str:
    """Two nodes whose routes somebody wrote as resources, one for each direction and family."""
    rows = "".join(
        f'    to-n{there}-v{family}: {{dst: "{dst}", via: "{via}", dev: eth0, metric: {metric}, mtu: {mtu}, nodeSelector: {{name: n{here}}}}}\n'
        for here, there in ((1, 2), (2, 1))
        for family, dst, via in ((4, f"10.244.{there}.0/24", f"10.0.1.1{there}"), (6, f"fd00:10:244:{there}::/64", f"fd00:1::1{there}"))
    )
    settings = "sysctls: {net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1}\n"
    nodes = (node(number, 1, f", labels: {{name: n{number}}}") for number in (1, 2))
    return spec(*nodes, mode="none", more=f"{settings}resources:\n  route:\n{rows}")


N1, N2, N3 = node(1, 1), node(2, 1), node(3, 2)
DIRECT = ", directRouting: true"
D1, D2 = node(1, 1, DIRECT), node(2, 1, DIRECT)
START = spec(N1, N2, N3)
HAND = by_hand()


class Edit(NamedTuple):
    what: str
    steps: tuple[str, ...]  # made one after the other, then taken back in the same way
    in_place: bool = True  # nothing is made or deleted


def moved(number: int, subnet: int, old: int, new: int, more: str = "") -> tuple[str, ...]:
    """A node changes its address: known to all before it is used, and no longer used before it is forgotten.

    In one step packets are lost while one end has read the new content and the other has not:
    VXLAN is accepted from addresses of the inventory only.
    """
    return tuple(node(number, subnet, more, hosts=hosts) for hosts in ((old,), (old, new), (new, old), (new,)))


def spoken_to_by_anyone(*nodes: str) -> str:
    return spec(*nodes, overlay="onlyFromNodes: false")


EDITS = (
    Edit("other nodes come and go", (START, spec(N1, N2, N3, node(8, 2), node(9, 3))), in_place=False),
    Edit("the MTU of overlay routes", (START, spec(N1, N2, node(3, 2, ", mtu: 1400")))),
    Edit("the MTU of direct routes", (spec(D1, D2, N3), spec(D1, node(2, 1, f"{DIRECT}, mtu: 1400"), N3))),
    Edit("a pair goes direct and back", (START, spec(D1, D2, N3)), in_place=False),
    Edit("a peer's address", tuple(spec(N1, N2, moving) for moving in moved(3, 2, 13, 33)), in_place=False),
    Edit("a direct peer's address", tuple(spec(D1, moving, N3) for moving in moved(2, 1, 12, 22, DIRECT)), in_place=False),
    Edit("a peer's address at once", (spoken_to_by_anyone(N1, N2, N3), spoken_to_by_anyone(N1, N2, node(3, 2, hosts=(33,))))),
    Edit("the ttl of the tunnel", (START, spec(N1, N2, N3, overlay="ttl: 32"))),
    Edit("the MTU of the tunnel", (START, spec(N1, N2, N3, overlay="mtu: 1400"))),
    Edit("who may speak to the tunnel", (START, spoken_to_by_anyone(N1, N2, N3)), in_place=False),
)
EDITS_BY_HAND = (
    Edit("the metric of routes", (HAND, by_hand(metric=200)), in_place=False),  # to the kernel these are two routes
    Edit("the MTU of routes", (HAND, by_hand(mtu=1400))),
)


def targets(lab: Lab, daemons: Cluster) -> list[str]:
    """The addresses of the pods of all nodes that run, but the first."""
    return [address.partition("/")[0] for pod in lab.topology.pods[1:] if pod.node in daemons.daemons for address in pod.addresses]


@pytest.mark.parametrize("edits", [EDITS, EDITS_BY_HAND], ids=["fabric", "by hand"])
def test_edits_lose_no_packet(name: str, edits: tuple[Edit, ...], record_property: Callable[[str, object], None]) -> None:
    networks = [text_network(text).cluster for edit in edits for text in edit.steps]
    lab = labs.raise_lab(name, networks)
    told = []
    with cluster(lab, edits[0].steps[0]) as daemons:
        for edit in edits:
            daemons.edit(edit.steps[0])
            before = daemons.done()
            with stream(lab.topology, nodes=daemons.daemons) as pings, flood(lab.topology.pods[0], targets(lab, daemons)) as found:
                for _ in range(TIMES):
                    for text in (*edit.steps[1:], *edit.steps[-2::-1]):
                        daemons.edit(text)
            done = {verb: count - before[verb] for verb, count in daemons.done().items()}
            assert sum(done.values()) >= 2 * TIMES, f"{edit.what}: was it ever made? {done}"
            assert not edit.in_place or done["create"] == done["delete"] == 0, f"{edit.what}: {done}"
            assert found.lost == 0, f"{edit.what}: {found}"
            lost = {path: loss for path, loss in pings.losses.items() if loss.lost and (path.target != WORLD or edits is EDITS)}
            assert not lost, f"{edit.what}: {lost}"  # routes by hand lead to pods alone
            told.append(f"{edit.what}: {done}, {found.sent + pings.sent} packets, none lost")
    record_property("edits", told)
    print("\n".join(told))


def test_restarts_and_rounds_with_nothing_to_do_lose_no_packet(name: str) -> None:
    lab = labs.raise_lab(name, [text_network(START).cluster])
    with cluster(lab, START) as daemons, stream(lab.topology) as pings, flood(lab.topology.pods[0], targets(lab, daemons)) as found:
        for one, how in (("n1", signal.SIGTERM), ("n1", signal.SIGKILL), ("n3", signal.SIGKILL), ("n3", signal.SIGTERM)):
            assert daemons.restart(one, how).done() == {"create": 0, "update": 0, "delete": 0}, (one, how)
        for daemon in daemons.daemons.values():
            assert daemon.looked_again()["lastRound"]["actions"] == 0
    assert pings.sent
    assert found.sent
    assert pings.lost == 0, pings.losses
    assert found.lost == 0, str(found)


@pytest.mark.parametrize(
    "instead",
    [
        (
            ("ip", "route", "show", "10.244.3.0/24"),
            ("ip", "route del 10.244.3.0/24", "route add 10.244.3.0/24 nhid {2} proto 94"),
        ),
        (
            ("ip", "nexthop", "show", "protocol", "94"),
            ("ip", "nexthop del id {1}", "nexthop add id {1} via {3} dev plumb0 onlink protocol 94\nroute add 10.244.3.0/24 nhid {1}"),
        ),
        (
            ("bridge", "fdb", "show", "dev", "plumb0"),
            ("bridge", "fdb del {0} dev plumb0 dst {2} self", "fdb add {0} dev plumb0 dst {2} self permanent"),
        ),
    ],
    ids=["route", "nexthop", "fdb"],
)
def test_a_hole_as_short_as_two_commands_is_seen(name: str, instead: tuple[tuple[str, ...], tuple[str, str, str]]) -> None:
    """What the tests above could not tell otherwise: the same end by deleting and adding."""
    text = spec(N1, N3)
    lab = labs.raise_lab(name, [text_network(text).cluster])
    shown, (tool, delete, add) = instead
    with cluster(lab, text) as daemons:
        netns = lab.topology.machine("n1").netns
        daemons.daemons["n1"].end()
        words = next(line.split() for line in run_tool(netns, shown).stdout.splitlines() if "fe80" not in line)
        lines = f"{delete}\n{add}\n".format(*words)
        with flood(lab.topology.pods[0], ["10.244.3.2"]) as found:
            done = run_tool(netns, (tool, "-batch", "-"), stdin=lines * 2000)
    assert done.returncode == 0, done.stderr
    assert found.lost > 0
