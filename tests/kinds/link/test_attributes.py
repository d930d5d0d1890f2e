"""The attribute table of links against the running kernel: changed by pasted lines, seen, repaired; and pyroute2 agrees."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyroute2 import IPRoute

import reconciler.kinds.link
from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Verb
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.link import BridgePort
from reconciler.kinds.link.types import TYPES
from reconciler.spec.resources import resource_row
from tests.namespaces import sh
from tests.rows import build

pytestmark = pytest.mark.kernel
KINDS = Kinds([all_kinds()["link"]])
TABLE = yaml.safe_load((Path(reconciler.kinds.link.__file__).parent / "attributes.yaml").read_text())
COMMON = frozenset({"vxlan", "bridge", "veth", "macvlan", "port", "physical", "vxlan6"})  # bases that any kernel has


def measured() -> list[Any]:
    """What many kernels lack is marked for the VM."""
    return [
        pytest.param(name, row, id=name, marks=() if row["base"] in COMMON and "needs" not in row else pytest.mark.vm)
        for name, row in TABLE["attributes"].items()
        if "from" in row
    ]


def with_value(base: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    part, _, attribute = name.partition(".")
    if not attribute:
        return base | {part: value}
    field = "port" if part == "port" else "info"
    return base | {field: base[field] | {attribute: value}}


def scope(said: dict[str, Any]) -> Scope:
    rows = [said]
    if said.get("peer"):
        rows.append({"name": said["peer"], "type": "veth", "group": 94, "peer": said["name"], "up": True})
    wanted, clashes = merge(KINDS, [build(KINDS["link"], one) for one in rows])
    assert not clashes
    return Scope(("",), wanted)


def skip_where_the_kernel_lacks(option: str) -> None:
    """Some kernels answer 0 to options that they are not built with; this one they refuse."""
    if not option:
        return
    done = subprocess.run(["ip", "link", "set", "br-test", "type", "bridge", option, "1"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this kernel has no {option}: {done.stderr.strip()}")
    sh(f"ip link set br-test type bridge {option} 0")


def refused_by_this_kernel(errors: tuple[str, ...]) -> str:
    return next((error for error in errors if "not supported" in error.lower() or "unknown" in error.lower()), "")


@pytest.fixture(scope="module")
def engine() -> Round:
    """One for all: templates are compiled once."""
    return Round(KernelNode(), KINDS, name="n1")


@pytest.fixture
def node(netns: str, engine: Round) -> Iterator[KernelNode]:
    """The node of `engine`, in the test's namespace."""
    node: Any = engine._node
    yield node
    node.close()


@pytest.mark.parametrize(("name", "row"), measured())
def test_attribute(engine: Round, node: KernelNode, name: str, row: dict[str, Any]) -> None:
    sh(
        "ip link add br-test type bridge && ip link set br-test up && ip link add below type veth peer name below-peer && ip link set below up"
    )
    skip_where_the_kernel_lacks(row.get("needs", ""))
    base = TABLE["bases"][row["base"]]
    first, second = scope(with_value(base, name, row["from"])), scope(with_value(base, name, row["to"]))
    made = engine.converge(first)
    if reason := refused_by_this_kernel(made.errors):
        pytest.skip(f"this kernel or iproute2 lacks it: {reason}")
    assert made.converged, (made.errors, made.last)

    plan, _ = engine.plan(second)
    verbs = [action.verb for action in plan.actions]
    assert verbs == ([Verb.UPDATE] if row["change"] == "in place" else [Verb.DELETE, Verb.CREATE]), plan.actions
    tried = engine.converge(second)
    if reason := refused_by_this_kernel(tried.errors):
        pytest.skip(f"this kernel or iproute2 lacks it: {reason}")
    assert tried.converged, (tried.errors, tried.last)
    assert engine.converge(first).converged

    sh("\n".join(str(line) for action in engine.plan(second)[0].actions for line in action.lines))
    assert engine.plan(second)[0].empty, "the pasted lines did not do what apply does"
    drift, _ = engine.plan(first)
    assert not drift.empty, "the change from outside was not seen"
    repaired = engine.converge(first)
    assert repaired.converged, (repaired.errors, repaired.last)
    assert len(repaired.plans) == 2, "one round"


def test_what_cannot_change_in_place_really_cannot(netns: str) -> None:
    """The reasons to make a device anew are measured: the kernel refuses, or says yes and does nothing."""
    for name, row in TABLE["attributes"].items():
        if row["change"] != "replace" or row.get("base") != "vxlan":
            continue
        sh("ip link add dev0 group 94 type vxlan id 4096 dstport 4789 local 10.94.1.1 nolearning")
        word = name.partition(".")[2]
        value = row["to"]
        option = f"{word} {value}" if not isinstance(value, bool) else word if value else f"no{word}"
        before = sh("ip -d -o link show dev dev0")
        sh(f"ip link set dev dev0 type vxlan id {5000 if word == 'id' else 4096} {'' if word == 'id' else option} 2>/dev/null || true")
        assert sh("ip -d -o link show dev dev0") == before, f"{name} can change in place after all"
        sh("ip link del dev0")


def test_pyroute2_sees_the_same(netns: str, node: KernelNode) -> None:
    sh(
        "ip link add br0 group 94 type bridge ageing_time 1000 && ip link set br0 alias plumbline:x && ip link set br0 up && "
        "ip link add v0 type veth peer name v1 && ip link set v0 master br0 mtu 1400 up && "
        "ip link add vx0 address 02:00:00:00:00:01 type vxlan id 7 dstport 4789 local 10.0.0.1 nolearning && "
        "ip link add link v1 name mv0 type macvlan mode bridge"
    )
    rows = {row.key.name: row for row in KINDS["link"].observe(node, Scope(("",), merge(KINDS, [])[0]))}
    with IPRoute() as ipr:
        theirs = {link.get("ifname"): link for link in ipr.get_links()}
        names = {link["index"]: link.get("ifname") for link in theirs.values()}
    assert set(rows) == set(theirs)
    for name, row in rows.items():
        link = theirs[name]
        info = link.get("linkinfo")
        assert row.ifindex == link["index"]
        assert row.mtu == link.get("mtu")
        assert row.group == link.get("group")
        assert row.up == bool(link["flags"] & 1)
        assert row.mac == link.get("address")
        assert row.master == names.get(link.get("master"), "")
        assert row.type == (info.get("kind") if info else "physical")
    data = theirs["vx0"].get("linkinfo").get("data")
    vxlan = rows["vx0"].info
    assert (vxlan.id, vxlan.dstport, vxlan.local) == (data.get("vxlan_id"), data.get("vxlan_port"), data.get("vxlan_local"))
    assert vxlan.learning is bool(data.get("vxlan_learning"))
    assert rows["br0"].info.ageing_time == theirs["br0"].get("linkinfo").get("data").get("br_ageing_time")
    assert rows["mv0"].parent == "v1"
    assert rows["v0"].peer == "v1"


def test_every_attribute_of_every_type_stands_in_the_table() -> None:
    parts = {type_.info.__name__.lower(): type_.info for type_ in TYPES.values() if type_.info} | {"port": BridgePort}
    stated = {f"{name}.{field}" for name, info in parts.items() for field in info._fields}
    assert stated - set(TABLE["attributes"]) == set()
    assert {name for name in TABLE["attributes"] if "." in name} - stated == set()


NEW = [
    {"name": "dev0", "type": "dummy", "mac": "02:00:00:00:00:01", "mtu": 9000, "up": True},
    {"name": "dev0", "type": "wireguard", "mtu": 1380, "up": True},
    {"name": "dev0", "type": "gretap", "up": True, "info": {"external": True}},
    {"name": "dev0", "type": "ip6gretap", "up": True, "info": {"external": True}},
    {"name": "dev0", "type": "ip6tnl", "up": True, "info": {"local": "fd94::1", "remote": "fd94::2", "dscpInherit": True, "flowlabel": 5}},
    {"name": "dev0", "type": "ipip", "up": True, "info": {"external": True}},
    {"name": "dev0", "type": "sit", "up": True, "info": {"local": "10.94.1.1"}},
    {"name": "dev0", "type": "vlan", "up": True, "parent": "below", "master": "br-test", "info": {"id": 7, "looseBinding": True}},
    {"name": "dev0", "type": "ipvlan", "up": True, "parent": "below", "info": {"mode": "l3s", "flags": "vepa"}},
]


@pytest.mark.vm
def test_every_type_becomes_every_other_and_goes(engine: Round, node: KernelNode) -> None:
    """Made anew in one round each, nothing else touched, and a plan that is empty after."""
    sh("ip link add br-test type bridge && ip link add below type veth peer name below-peer && ip link set below up")
    before = {line.split(":")[1] for line in sh("ip -o link").splitlines()}
    for said in NEW:
        result = engine.converge(Scope(("",), merge(KINDS, [resource_row(KINDS["link"], said)])[0]))
        if reason := refused_by_this_kernel(result.errors):
            pytest.skip(f"this kernel or iproute2 lacks it: {reason}")
        assert result.converged, (said, result.errors)
        assert len(result.plans) == 2, f"{said}: one round"
    assert engine.converge(Scope(("",), merge(KINDS, [])[0])).converged
    left = {line.split(":")[1] for line in sh("ip -o link").splitlines()}
    assert left - before <= set(MADE_BY_MODULES), left - before


MADE_BY_MODULES = [f" {name}@NONE" for name in ("tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip6tnl0", "ip6gre0")]


@pytest.mark.vm
def test_a_tunnel_stays_when_the_device_that_it_leaves_by_is_made_anew(engine: Round, node: KernelNode) -> None:
    def wanted(type_: str) -> Scope:
        tunnel = {"name": "t0", "type": "gre", "parent": "lower", "up": True, "info": {"local": "10.94.1.1", "remote": "10.94.1.2"}}
        rows = [resource_row(KINDS["link"], said) for said in ({"name": "lower", "type": type_, "up": True}, tunnel)]
        return Scope(("",), merge(KINDS, rows)[0])

    made = engine.converge(wanted("bridge"))
    if reason := refused_by_this_kernel(made.errors):
        pytest.skip(f"this kernel or iproute2 lacks it: {reason}")
    assert made.converged, made.errors
    index = sh("ip -o link show t0").split(":")[0]
    result = engine.converge(wanted("dummy"))
    assert result.converged, result.errors
    assert len(result.plans) == 2, "one round"
    assert "dev lower" in sh("ip -d -o link show t0")
    assert sh("ip -o link show t0").startswith(f"{index}:"), "the tunnel itself was made anew"


@pytest.mark.vm
def test_a_vrf_takes_ports_and_their_addresses_are_put_back(netns: str) -> None:
    """The kernel takes the IPv6 addresses of a device that joins a VRF: the second pass of the round puts them back."""
    kinds = all_kinds()
    rows = [
        resource_row(kinds["link"], {"name": "d0", "type": "dummy", "up": True}),
        *(resource_row(kinds["address"], {"dev": "d0", "prefix": prefix}) for prefix in ("10.94.0.1/24", "fd94::1/64")),
    ]
    red = resource_row(kinds["link"], {"name": "red", "type": "vrf", "up": True, "info": {"table": 10}})
    with closing(KernelNode()) as node:
        engine = Round(node, kinds, name="n1")
        made = engine.converge(Scope(("",), merge(kinds, rows)[0]))
        if reason := refused_by_this_kernel(made.errors):
            pytest.skip(f"this kernel or iproute2 lacks it: {reason}")
        result = engine.converge(Scope(("",), merge(kinds, [red, rows[0]._replace(master="red"), *rows[1:]])[0]))
        assert result.converged, result.errors
    assert "fd94::1/64" in sh("ip -o addr show dev d0 vrf red")
