"""Bridges and ports of a real Open vSwitch, with the data path in user space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Verb, Wanted
from reconciler.engine.reader import ObservationFailed, Scope, ToolMissing
from reconciler.engine.round import Result, Round
from reconciler.kernel.netns import entered
from reconciler.kernel.node import KernelNode
from reconciler.kernel.ovs import allowed
from reconciler.kinds import all_kinds
from reconciler.kinds.ovs_bridge import OvsBridge, ovs_bridge
from reconciler.kinds.ovs_port import OvsPort, ovs_port
from reconciler.spec.resources import BadResource, resource_row
from tests.namespaces import fresh_namespace, sh
from tests.openvswitch import OpenVSwitch, openvswitch, until
from tests.rows import build

KINDS = Kinds(all_kinds()[name] for name in ("link", "address", "ovs_bridge", "ovs_port"))
INTENT = "underlay"


@pytest.fixture
def switch(netns: str) -> Iterator[OpenVSwitch]:
    with openvswitch(netns) as running:
        yield running


@pytest.fixture
def engine() -> Iterator[Round]:
    node = KernelNode()
    yield Round(node, KINDS, name="n1")
    node.close()


def bridge(switch: OpenVSwitch, name: str = "br-int", **more: Any) -> OvsBridge:
    return ovs_bridge(name, INTENT, root=switch.root, **({"datapath_type": "netdev"} | more))


def port(switch: OpenVSwitch, name: str, on: str = "br-int", **more: Any) -> OvsPort:
    return ovs_port(on, name, INTENT, root=switch.root, **({"type": "internal"} | more))


def by_hand(switch: OpenVSwitch, kind: str, **said: Any) -> Any:
    return KINDS[kind].below(resource_row(KINDS[kind], said), switch.root)


def scope(switch: OpenVSwitch, *rows: Any) -> Scope:
    wanted, clashes = merge(KINDS, rows)
    assert not clashes, clashes
    return Scope(("",), wanted, switch.root)


def veth() -> list[Any]:
    return [
        resource_row(KINDS["link"], {"name": name, "type": "veth", "peer": peer, "up": True, "master": ""})
        for name, peer in (("br-int-veth", "breth1-veth"), ("breth1-veth", "br-int-veth"))
    ]


def lines(result: Result) -> list[str]:
    return [line.words for plan in result.plans for action in plan.actions for line in action.lines]


@pytest.mark.kernel
def test_an_underlays_bridge_with_its_port_is_made_repaired_and_removed(switch: OpenVSwitch, engine: Round) -> None:
    before = switch.everything()
    rows = [*veth(), bridge(switch, fail_mode="secure", protocols=["OpenFlow13"]), port(switch, "br-int-veth", type="system", tag=10)]
    made = engine.converge(scope(switch, *rows))
    assert made.converged, made.errors
    assert len(made.plans) == 2, "one round"
    assert switch.vsctl("list-ports br-int").split() == ["br-int-veth"]
    assert switch.vsctl("get-fail-mode br-int").strip() == "secure"
    assert not engine.converge(scope(switch, *rows)).outcomes, "a start with no memory finds nothing to do"

    for broken in ("set port br-int-veth tag=11", "del-port br-int br-int-veth", "del-br br-int", "set bridge br-int fail_mode=standalone"):
        switch.vsctl(broken)
        repaired = engine.converge(scope(switch, *rows))
        assert repaired.converged, (broken, repaired.errors)
        assert repaired.outcomes, f"{broken}: was not seen"

    gone = engine.converge(scope(switch))
    assert gone.converged, gone.errors
    assert switch.everything() == before
    assert "breth1-veth" not in sh("ip link")


@pytest.mark.kernel
def test_frames_pass_and_the_node_takes_part_by_the_bridges_own_device(switch: OpenVSwitch, engine: Round) -> None:
    own = resource_row(KINDS["link"], {"name": "br-int", "adopt": True, "up": True})
    address = resource_row(KINDS["address"], {"dev": "br-int", "prefix": "10.94.9.1/24"})
    with fresh_namespace() as other:
        sh("ip link add name eth0 type veth peer name br-int-veth && ip link set eth0 up && ip addr add 10.94.9.2/24 dev eth0")
        switch_here = switch.namespace
        sh(f"ip link set br-int-veth netns {switch_here} && ip -n {switch_here} link set br-int-veth up")
        with entered(switch_here):
            made = engine.converge(scope(switch, bridge(switch), port(switch, "br-int-veth", type="system"), own, address))
            assert made.converged, made.errors
        assert other
        sh("ping -c 1 -W 10 10.94.9.1")
        with entered(switch_here):
            secure = [bridge(switch, fail_mode="secure"), port(switch, "br-int-veth", type="system"), own, address]
            assert engine.converge(scope(switch, *secure)).converged
        sh("ip neigh flush dev eth0 && ! ping -c 1 -W 1 10.94.9.1")


def states(name: str) -> list[Any]:
    table = yaml.safe_load((KINDS[name].folder / "attributes.yaml").read_text())["attributes"]
    return [pytest.param(name, attribute, row, id=f"{name}.{attribute}") for attribute, row in table.items() if "from" in row]


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "attribute", "said"), [*states("ovs_bridge"), *states("ovs_port")])
def test_attribute(switch: OpenVSwitch, engine: Round, name: str, attribute: str, said: dict[str, Any]) -> None:
    """The table against the running switch, as test_measured.py does it for the kernel's kinds."""

    def with_value(value: Any) -> Scope:
        more = (
            {attribute: value}
            | ({"vlan_mode": "trunk"} if attribute != "vlan_mode" else {})
            | ({"vlan_mode": "access"} if attribute == "tag" else {})
        )
        base = {"root": switch.root, "intent": INTENT}
        if name == "ovs_bridge":
            return scope(switch, build(KINDS[name], base | {"name": "br0", "datapath_type": "netdev", attribute: value}))
        row = build(KINDS[name], base | {"name": "in0", "bridge": "br0", "type": "internal"} | more)
        return scope(switch, bridge(switch, "br0"), bridge(switch, "br1"), row)

    first, second = with_value(said["from"]), with_value(said["to"])
    made = engine.converge(first)
    assert made.converged, (made.errors, made.last)
    plan, _ = engine.plan(second)
    verbs = [action.verb for action in plan.actions]
    assert verbs == ([Verb.UPDATE] if said["change"] == "in place" else [Verb.DELETE, Verb.CREATE]), plan.actions
    sh("\n".join(str(line) for action in plan.actions for line in action.lines))
    assert engine.plan(second)[0].empty, "the pasted lines did not do what apply does"
    drift, _ = engine.plan(first)
    assert attribute in " ".join(action.note or action.change.reason for action in drift.actions), "the change from outside was not seen"
    repaired = engine.converge(first)
    assert repaired.converged, (repaired.errors, repaired.last)
    assert len(repaired.plans) == 2, "one round"
    assert engine.converge(scope(switch)).converged


@pytest.mark.kernel
def test_patch_ports_to_and_fro_and_one_that_leads_nowhere(switch: OpenVSwitch, engine: Round) -> None:
    ends = [port(switch, "to-b", "br-a", type="patch", peer="to-a"), port(switch, "to-a", "br-b", type="patch", peer="to-b")]
    bridges = [bridge(switch, "br-a"), bridge(switch, "br-b")]
    made = engine.converge(scope(switch, *bridges, *ends))
    assert made.converged, made.errors
    assert len(made.plans) == 2, "one round"
    alone = engine.converge(scope(switch, *bridges, ends[0]))
    assert not alone.converged
    assert any("No usable peer 'to-a'" in error and "state the other end too" in error for error in alone.errors), alone.errors


@pytest.mark.kernel
def test_what_the_switch_could_not_do_is_told_and_mended_once_it_can(switch: OpenVSwitch, engine: Round) -> None:
    sh("ip link add in0 type veth peer name in1")  # the name of the device that the switch would make
    rows = [bridge(switch), port(switch, "in0")]
    told = engine.converge(scope(switch, *rows))
    assert not told.converged
    assert any(error.startswith("ovs_port") and "in0" in error and "error: could not" in error for error in told.errors), told.errors
    sh("ip link del in0")
    mended = engine.converge(scope(switch, *rows))
    assert mended.converged, mended.errors


THEIRS = (
    "add-br br-theirs -- set bridge br-theirs datapath_type=netdev fail_mode=secure external_ids:owner=nova other_config:hwaddr=02:00:00:00:00:77",
    "add-port br-theirs theirs0 tag=7 -- set interface theirs0 type=internal external_ids:iface-id=x",
    "add-port br-int theirs1 -- set interface theirs1 type=internal",
)


@pytest.mark.kernel
def test_nothing_foreign_is_touched(switch: OpenVSwitch, engine: Round) -> None:
    ours = [bridge(switch), port(switch, "in0"), port(switch, "in1", "br-theirs")]
    assert engine.converge(scope(switch, ours[0], ours[1])).converged
    for command in THEIRS:
        switch.vsctl(command)
    before = switch.everything("br-int", "in0")
    made = engine.converge(scope(switch, *ours))
    assert made.converged, made.errors
    assert switch.vsctl("port-to-br in1").strip() == "br-theirs", "a port of ours on somebody's bridge"

    refused = engine.converge(scope(switch, *ours, bridge(switch, "br-theirs"), port(switch, "theirs0")))
    assert {conflict.reason.partition(" (")[0] for conflict in refused.last.conflicts} == {
        f"ovs_bridge {switch.root} br-theirs exists and is not ours",
        f"ovs_port {switch.root} theirs0 exists and is not ours",
    }
    assert switch.everything("br-int", "in0", "in1") == before

    cleaned = engine.converge(scope(switch))
    assert cleaned.converged, cleaned.errors
    assert switch.everything("br-int") == before
    assert switch.vsctl("list-ports br-int").split() == ["theirs1"], "given away: others use it"
    assert switch.vsctl("get bridge br-int external_ids").strip() == "{}"
    assert not engine.converge(scope(switch)).outcomes


@pytest.mark.kernel
def test_what_was_adopted_changes_as_far_as_it_is_stated_and_stays(switch: OpenVSwitch, engine: Round) -> None:
    for command in THEIRS[:2]:
        switch.vsctl(command)
    rows = [
        by_hand(switch, "ovs_bridge", name="br-theirs", adopt=True, otherConfig=[{"name": "forward-bpdu", "value": "true"}]),
        by_hand(switch, "ovs_port", name="theirs0", adopt=True, tag=8, externalIds=[{"name": "vm-id", "value": "v"}]),
    ]
    made = engine.converge(scope(switch, *rows))
    assert made.converged, made.errors
    assert switch.vsctl("get port theirs0 tag").strip() == "8"
    assert switch.vsctl("get interface theirs0 external_ids").strip() == "{iface-id=x, vm-id=v}"
    assert switch.vsctl("get bridge br-theirs other_config").strip() == '{forward-bpdu="true", hwaddr="02:00:00:00:00:77"}'
    after = switch.everything()
    assert not engine.converge(scope(switch)).outcomes
    assert switch.everything() == after
    assert "plumbline" not in str(after)


@pytest.mark.kernel
def test_others_keep_their_entries_beside_ours(switch: OpenVSwitch, engine: Round) -> None:
    rows = [bridge(switch, other_config=[("forward-bpdu", "true")]), port(switch, "in0", external_ids=[("iface-id", "n1"), ("b", "2")])]
    assert engine.converge(scope(switch, *rows)).converged
    switch.vsctl(
        "set interface in0 external_ids:ovn-installed=true -- set bridge br-int other_config:mac-table-size=50000 external_ids:ct-zone-x=3"
    )
    assert not engine.converge(scope(switch, *rows)).outcomes
    fewer = [bridge(switch), port(switch, "in0", external_ids=[("iface-id", "n1")])]
    assert engine.converge(scope(switch, *fewer)).converged
    assert switch.vsctl("get interface in0 external_ids").strip() == '{iface-id=n1, ovn-installed="true"}'
    assert switch.vsctl("get bridge br-int other_config").strip() == '{mac-table-size="50000"}'
    taken = [bridge(switch, other_config=[("mac-table-size", "9000")]), port(switch, "in0", external_ids=[("iface-id", "n1")])]
    assert engine.converge(scope(switch, *taken)).converged
    assert engine.converge(scope(switch, *fewer)).converged
    assert switch.vsctl("get bridge br-int other_config").strip() == "{}"


@pytest.mark.kernel
def test_a_port_waits_for_its_device_and_outlives_it(switch: OpenVSwitch, engine: Round) -> None:
    rows = [bridge(switch), port(switch, "br-int-veth", type="system")]
    early = engine.converge(scope(switch, *rows))
    assert any("needs link br-int-veth, which does not exist" in error for error in early.errors), early.errors
    assert engine.converge(scope(switch, *rows, *veth())).converged
    sh("ip link del br-int-veth")
    again = engine.converge(scope(switch, *rows, *veth()))
    assert again.converged, again.errors
    assert switch.vsctl("get interface br-int-veth ofport").strip() not in ("-1", "[]")


@pytest.mark.kernel
def test_without_its_daemon_the_database_alone_is_no_success(switch: OpenVSwitch, engine: Round) -> None:
    switch.switch.terminate()
    switch.switch.wait(timeout=10)
    told = engine.converge(scope(switch, bridge(switch)))
    assert not told.converged
    assert any("is it running" in error for error in told.errors), told.errors
    switch.start_switch()
    until(lambda: engine.converge(scope(switch, bridge(switch))).converged, "ovs-vswitchd")


@pytest.mark.kernel
@pytest.mark.vm
def test_a_device_in_the_kernels_data_path_has_no_master_to_fight_over(switch: OpenVSwitch, engine: Round) -> None:
    rows = [*veth(), bridge(switch, datapath_type="system"), port(switch, "br-int-veth", type="system")]
    made = engine.converge(scope(switch, *rows))
    if any("module openvswitch" in error or "has not taken it" in error for error in made.errors):
        pytest.skip("this kernel has no data path of Open vSwitch (module openvswitch)")
    assert made.converged, made.errors
    assert "master ovs-system" in sh("ip link show dev br-int-veth")
    assert not engine.converge(scope(switch, *rows)).outcomes
    assert engine.converge(scope(switch)).converged


class _Without:
    """A node where questions end like this."""

    def __init__(self, names: tuple[str, ...], failure: ObservationFailed) -> None:
        self._names, self._failure = names, failure

    def names(self, path: str) -> tuple[str, ...]:
        assert path == "/var/run/openvswitch"
        return self._names

    def tool(self, netns: str, words: Any) -> str:
        raise self._failure


MISSING = ToolMissing("ovs-vsctl is not installed; it comes with openvswitch-switch")
STOPPED = ObservationFailed("ovs-vsctl …: unix:/var/run/openvswitch/db.sock: database connection failed (Connection refused)")
HANGS = ObservationFailed("ovs-vsctl …: terminating with signal 14 (Alarm clock)")


@pytest.mark.parametrize("name", ["ovs_bridge", "ovs_port"])
@pytest.mark.parametrize(("names", "failure", "remedy"), [
    ((), MISSING, "comes with openvswitch-switch"),
    (("db.sock",), MISSING, "comes with openvswitch-switch"),
    ((), STOPPED, "systemctl start openvswitch-switch"),
    (("db.sock",), STOPPED, "systemctl start openvswitch-switch"),
])  # fmt: skip
def test_a_node_without_is_told_only_if_it_wants_something(
    name: str, names: tuple[str, ...], failure: ObservationFailed, remedy: str
) -> None:
    kind, io = all_kinds()[name], _Without(names, failure)
    assert list(kind.observe(io, Scope(("",), Wanted()))) == []  # type: ignore[arg-type]
    row = ovs_bridge("br0", INTENT) if name == "ovs_bridge" else ovs_port("br0", "p0", INTENT)
    with pytest.raises(ObservationFailed, match=remedy):
        list(kind.observe(io, Scope(("",), Wanted({name: {row.key: row}}))))  # type: ignore[arg-type]


def test_a_database_that_does_not_answer_is_no_empty_one() -> None:
    with pytest.raises(ObservationFailed, match="signal 14"):
        list(all_kinds()["ovs_port"].observe(_Without(("db.sock",), HANGS), Scope(("",), Wanted())))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "said", "error"),
    [
        ("ovs_bridge", {"failMode": "open"}, "allowed: standalone, secure"),
        ("ovs_bridge", {"protocols": ["OpenFlow9"]}, "allowed: OpenFlow10"),
        ("ovs_bridge", {"otherConfig": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]}, "a is said twice"),
        ("ovs_bridge", {"otherConfig": [{"name": "plumbline", "value": "1"}]}, "by which plumbline knows its own"),
        ("ovs_bridge", {"adopt": True, "intent": "x"}, "would delete it"),
        ("ovs_bridge", {"error": "x"}, "leave it out"),
        ("ovs_bridge", {"root": "/etc"}, "has no root"),
        ("ovs_port", {}, "say which bridge"),
        ("ovs_port", {"bridge": "br0", "type": "vxlan"}, "allowed: system, internal, patch"),
        ("ovs_port", {"bridge": "br0", "type": "patch"}, "names its peer"),
        ("ovs_port", {"bridge": "br0", "peer": "p1"}, "names its peer"),
        ("ovs_port", {"bridge": "br0", "vlanMode": "trunk", "tag": 5}, "native-untagged"),
        ("ovs_port", {"bridge": "br0", "tag": 5, "trunks": [6]}, "native-untagged"),
        ("ovs_port", {"bridge": "br0", "tag": 4095}, "allowed: 0 to 4094"),
    ],
)
def test_mistakes_are_told(kind: str, said: dict[str, Any], error: str) -> None:
    with pytest.raises(BadResource, match=error):
        resource_row(all_kinds()[kind], {"name": "x0", **said})


def test_by_hand_it_is_marked_as_what_people_stated() -> None:
    made = resource_row(all_kinds()["ovs_port"], {"name": "p0", "bridge": "br0", "tag": 5, "trunks": []})
    assert (made.intent, made.vlan_mode, made.key.root) == ("resources", "access", "")


@pytest.mark.parametrize(
    "line",
    [
        "ovs-vsctl --db=tcp:192.0.2.1:6640 add-br br0",
        "ovs-vsctl --db=ssl:192.0.2.1:6640 add-br br0",
        "ovs-vsctl --private-key=/etc/shadow add-br br0",
        "ovs-vsctl --timeout=10 set open_vswitch . external_ids:ovn-remote=tcp:192.0.2.1:6642",
        "ovs-vsctl --timeout=10 add-br br0 -- emer-reset",
        "ovs-vsctl --timeout=10 set-controller br0 tcp:192.0.2.1",
        "ovs-vsctl --timeout=10 add-br br0 -- --id=@m create mirror name=m",
        "ovs-vsctl --timeout=10 -- --all destroy bridge br0",
        "ovs-vsctl --timeout=10 -- --if-exists del-br br0",
        "ovs-vsctl --timeout=10",
    ],
)
def test_no_other_command_runs(line: str) -> None:
    words = "ovs-vsctl --timeout=10 --db=unix:/run/x/db.sock add-br br0 -- set bridge br0 fail_mode=secure"
    assert not allowed(line.split())
    assert allowed(words.split())
