"""Which devices change places, and what is refused: from facts alone."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.engine.guard import Limits, builds_only
from reconciler.engine.merge import merge
from reconciler.engine.model import Absent, Observed, Owner, Seen
from reconciler.engine.pipeline import make_plan
from reconciler.engine.render import Renderer
from reconciler.facts.merge import build_facts
from reconciler.facts.model import Device, Host, HostRoute, Manager
from reconciler.intents import Context, Remark
from reconciler.intents.takeover import carrying, targets
from reconciler.intents.underlay import rows
from reconciler.kinds import all_kinds
from reconciler.kinds.address import Address, address
from reconciler.kinds.link import Bridge, Link, LinkKey
from reconciler.kinds.route import route
from reconciler.spec.load import load_text

KINDS = all_kinds()
HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {address: 10.0.1.11/24, labels: {rack: a}}}\n"
SPEC = "underlay: {breth1: {uplink: eth1}}\n"
MAC = "02:00:00:00:00:11"


def nic(name: str = "eth1", host: int = 11, master: str = "", **more: Any) -> Device:
    link = Link(LinkKey("", name), "physical", 0, "", MAC, 1500, True, master, "", "", ifindex=host)
    carried = (address("", name, f"10.0.1.{host}/24"), address("", name, f"fd00:1::{host}/64"))
    return Device(link, carried, (route("", "0.0.0.0/0", via="10.0.1.1", dev=name, metric=host, protocol=4),), **more)


def bridge(name: str = "breth1", of: str = "eth1", carried: Device | None = None) -> Device:
    link = Link(LinkKey("", name), "bridge", 94, f"plumbline:underlay:{of}", MAC, 1500, True, "", "", "", Bridge(), ifindex=90)
    return Device(link, *(moved_to(name, carried) if carried else ((), ())))


def moved_to(name: str, device: Device) -> tuple[Any, Any]:
    return (
        tuple(row._replace(key=row.key._replace(dev=name)) for row in device.addresses),
        tuple(row._replace(dev=name) for row in device.routes),
    )


def bare(device: Device, master: str) -> Device:
    return Device(device.link._replace(master=master))


def context(*devices: Device, spec: str = SPEC, uplink: str = "eth1", defaults: tuple[HostRoute, ...] = ()) -> Context:
    loaded = load_text(HEAD + spec)
    host = Host(uplink, 1500, defaults, devices={one.link.key.name: one for one in devices})
    return Context(loaded.spec, build_facts(loaded, [], host), "n1", loaded.where)


def said(found: list[Any]) -> list[str]:
    return [one.text for one in found if isinstance(one, Remark)]


def absent(found: list[Any]) -> list[Any]:
    return [one.row for one in found if isinstance(one, Absent)]


def test_everything_goes_and_nothing_leaves_before_it_is_there() -> None:
    device = nic()
    found = list(rows(context(device)))
    assert absent(found) == [*device.addresses, *device.routes]
    made = {KINDS.of(one).ref(one) for one in found if not isinstance(one, Absent | Remark)}
    for one in found:
        if isinstance(one, Absent):
            assert set(one.after) <= made
            assert KINDS["link"].ref(device.link) in one.after, "the NIC has to be under the bridge first"
    six = next(one for one in found if isinstance(one, Address) and ":" in one.key.prefix)
    assert six.flags == ("nodad",)


def seen_of(*devices: Device) -> Seen:
    observed: dict[str, Observed] = {name: Observed([]) for name in KINDS}
    for device in devices:
        observed["link"].rows.append(device.link)
        observed["address"].rows.extend(device.addresses)
        observed["route"].rows.extend(device.routes)
    return Seen(observed)


def test_a_route_becomes_the_new_one_in_place_and_one_that_is_another_by_now_stays() -> None:
    device = nic()
    wanted, clashes = merge(KINDS, [one for one in rows(context(device)) if not isinstance(one, Remark)])
    assert not clashes
    plan = make_plan("n1", KINDS, Renderer(KINDS), wanted, seen_of(device))
    lines = [line.words for action in plan.actions for line in action.lines]
    assert "ip route replace 0.0.0.0/0 via 10.0.1.1 dev breth1 metric 11 proto 4" in lines
    assert lines.index("ip link set dev eth1 master breth1") < lines.index("ip addr del 10.0.1.11/24 dev eth1")
    other = device._replace(addresses=(device.addresses[0]._replace(metric=7),), routes=())
    lines = [line.words for action in make_plan("n1", KINDS, Renderer(KINDS), wanted, seen_of(other)).actions for line in action.lines]
    assert not any("dev eth1" in line and " del " in line for line in lines)


def test_what_cannot_be_put_in_place_holds_what_would_go() -> None:
    device = nic()
    wanted, _ = merge(KINDS, [one for one in rows(context(device)) if not isinstance(one, Remark)])
    seen = seen_of(device)
    seen.rows("link").append(Link(LinkKey("", "breth1"), "bridge", 0, "", MAC, 1500, True, "", "", "", Bridge(), ifindex=5))
    plan = make_plan("n1", KINDS, Renderer(KINDS), wanted, seen)
    assert plan.conflicts
    assert [action for action in plan.runnable if action.change.kind in ("address", "route")] == []


def test_content_that_may_be_out_of_date_may_move_but_not_take_away() -> None:
    device = nic()
    wanted, _ = merge(KINDS, [one for one in rows(context(device)) if not isinstance(one, Remark)])
    plan = make_plan("n1", KINDS, Renderer(KINDS), wanted, seen_of(device), Limits(), builds_only)
    assert not any(action.held for action in plan.actions)
    gone = bridge(carried=device)
    wanted, _ = merge(KINDS, [one for one in rows(context(bare(device, "breth1"), gone, spec="")) if not isinstance(one, Remark)])
    plan = make_plan("n1", KINDS, Renderer(KINDS), wanted, seen_of(bare(device, "breth1"), gone), Limits(), builds_only)
    assert [action.ref.key[1] for action in plan.actions if action.held] == ["breth1"]


@pytest.mark.parametrize(
    ("devices", "spec", "found"),
    [
        ((nic(),), SPEC, {"eth1": "breth1"}),
        ((bare(nic(), "breth1"), bridge(carried=nic())), SPEC, {"eth1": "breth1"}),
        ((bare(nic(), "breth1"), bridge(carried=nic())), "", {"breth1": "eth1"}),
        ((bare(nic(), "breth1"), bridge(carried=nic())), "underlay: {br9: {uplink: eth1}}\n", {"eth1": "br9", "breth1": "br9"}),
        (
            (bare(nic(), "breth1"), bridge(carried=nic()), nic("eth2", 12)),
            "underlay: {breth1: {uplink: eth2}}\n",
            {"eth2": "breth1", "breth1": "eth1"},
        ),
        ((bridge(carried=nic()),), "", {}),
        ((nic(),), "underlay: {breth1: {uplink: eth1, nodeSelector: {rack: b}}}\n", {}),
    ],
    ids=["bare", "done", "section gone", "bridge renamed", "another uplink", "the NIC is gone", "another node's"],
)
def test_what_goes_where(devices: tuple[Device, ...], spec: str, found: dict[str, str]) -> None:
    here = context(*devices, spec=spec)
    assert dict(targets(here)) == found
    assert carrying(here, "eth1") == found.get("eth1", "eth1")
    assert not merge(KINDS, [one for one in rows(here) if not isinstance(one, Remark)])[1]


DHCP = Manager("a DHCP client", "10.0.1.11/24 runs out", "printf 'auto eth1\\n' > /etc/network/interfaces.d/plumbline-eth1")
REFUSED = {
    "lease": (nic(managers=(DHCP,)), "a DHCP client keeps its addresses (10.0.1.11/24 runs out); hand it over: printf 'auto eth1"),
    "bond": (nic(master="bond0"), "it is in bond0; take it out first: ip link set dev eth1 nomaster"),
    "zebra": (nic(nexthops=("7",)), "nexthop objects lead over it"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_an_uplink_that_somebody_keeps_stays_as_it_is(why: str) -> None:
    device, text = REFUSED[why]
    found = list(rows(context(device)))
    assert len(found) == 1
    assert found[0].error
    assert "eth1 stays as it is: " in found[0].text
    assert text in found[0].text
    assert carrying(context(device), "eth1") == "eth1"


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_taken_over_already_stays_whoever_comes(why: str) -> None:
    """The bridge carries the node: that somebody takes an interest in the NIC is told, and nothing is torn down."""
    device, text = REFUSED[why]
    found = list(rows(context(device, bridge(carried=nic("eth1", 9)))))
    assert text in said(found)[0]
    assert absent(found) == []
    assert any(isinstance(one, Link) and one.key.name == "breth1" for one in found)
    assert not any(isinstance(one, Link) and one.key.name == "eth1" for one in found)


def test_a_nic_that_is_not_there_is_awaited() -> None:
    (remark,) = rows(context())
    assert remark.awaited
    assert remark.text == "there is no device eth1 here"


def test_settings_of_the_nic_hold_for_the_bridge_and_yield_to_what_is_said() -> None:
    device = nic(settings={"ipv4.rp_filter": "2", "ipv4.arp_ignore": "1"}, accept_ra="1")
    spec = f"{SPEC}sysctls: {{net.ipv4.conf.breth1.arp_ignore: 0}}\n"
    values = {
        one.key.name: one.value
        for one in rows(context(device, spec=spec))
        if not isinstance(one, Absent | Remark) and KINDS.of(one).name == "sysctl"
    }
    assert values == {"net.ipv4.conf.breth1.rp_filter": "2", "net.ipv6.conf.breth1.accept_ra": "1", "net.ipv6.conf.breth1.accept_dad": "0"}
    advertised = context(device, defaults=(HostRoute(6, "fe80::1", "eth1", "ra"),))
    assert any(
        KINDS.of(one).name == "sysctl" and one[0].name.endswith("accept_ra") and one.value == "2"
        for one in rows(advertised)
        if type(one) is not Absent
    )


def test_gateways_of_this_node_only() -> None:
    spec = "underlay: {breth1: {uplink: eth1, clusterSubnets: [192.168.0.0/16], gateways: {n2: {mac: '02:00:00:00:00:01'}}}}\n"
    assert said(list(rows(context(nic(), spec=spec)))) == [
        "no gateway leads from n1 to the other nodes' subnets: say underlay.breth1.gateways.n1"
    ]
    spec = "underlay: {breth1: {uplink: eth1, clusterSubnets: [192.168.0.0/16], gateways: {n1: {mac: '02:00:00:00:00:01', subnets: [192.168.1.0/29]}}}}\n"
    found = [one for one in rows(context(nic(), spec=spec)) if not isinstance(one, Absent | Remark)]
    ours = [(one.key.dst, one.via) for one in found if KINDS.of(one).name == "route" and one.protocol == 94]
    assert ours == [("192.168.1.1/32", ""), ("192.168.1.0/29", ""), ("192.168.0.0/16", "192.168.1.1")]


def test_moved_rows_stay_whose_they_were() -> None:
    """Nothing on the bridge bears our mark: it is not deleted as unwanted once it has moved."""
    carried = bridge(carried=nic())
    seen = seen_of(carried)
    assert all(KINDS["address"].owner(row, seen) is Owner.FOREIGN for row in carried.addresses)
    assert all(KINDS["route"].owner(row, seen) is Owner.FOREIGN for row in carried.routes)
