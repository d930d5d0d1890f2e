"""Addresses against the running kernel: the attribute table measured, and whose is whose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Verb, Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.address import KIND, Address, AddressKey, address
from tests.namespaces import sh

TABLE = yaml.safe_load((KIND.folder / "attributes.yaml").read_text())["attributes"]
PREFIX = {4: "10.94.1.1/24", 6: "fd94:1::1/64"}


def observer(kind: Kind[Any]) -> Kind[Any]:
    """A kind that only looks: the links here are the test's, and must stay."""

    class Observer(type(kind)):  # type: ignore[misc]
        deletes = False

    watching: Kind[Any] = Observer()
    return watching


@pytest.fixture
def engine(netns: str) -> Iterator[Round]:
    sh(
        "ip link add dev0 group 94 type vxlan id 94 dstport 4789 local 127.0.0.1 nolearning && ip link set dev0 up && ip link add dev1 type veth peer name dev2 && ip link set dev1 up && ip link set dev2 up"
    )
    node = KernelNode()
    yield Round(node, Kinds([KIND, observer(all_kinds()["link"])]))
    node.close()


def scope(*rows: Address) -> Scope:
    return Scope(("",), Wanted({"address": {row.key: row for row in rows}}))


def lines(engine: Round, wanted: Scope) -> list[str]:
    plan, _ = engine.plan(wanted)
    return [str(line) for action in plan.actions for line in action.lines]


@pytest.mark.kernel
@pytest.mark.parametrize("name", TABLE)
def test_attribute(engine: Round, name: str) -> None:
    row = TABLE[name]
    attribute = name.partition(".")[0]
    key = AddressKey("", "dev0", PREFIX[row["family"]])
    first, second = (scope(Address(key, **{attribute: _value(row[end])})) for end in ("from", "to"))
    assert engine.converge(first).converged

    plan, _ = engine.plan(second)
    assert [action.verb for action in plan.actions] == ([Verb.UPDATE] if row["change"] == "in place" else [Verb.DELETE, Verb.CREATE])
    sh("\n".join(lines(engine, second)))
    assert engine.plan(second)[0].empty, "the pasted lines have the effect that was planned"

    drift, _ = engine.plan(first)
    assert all(attribute in action.change.reason for action in drift.actions)
    assert drift.actions
    repaired = engine.converge(first)
    assert repaired.converged, repaired.errors
    assert len(repaired.plans) == 2
    assert engine.converge(scope()).converged
    assert PREFIX[row["family"]] not in sh("ip addr show dev dev0")


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.kernel
def test_why_replaced(engine: Round) -> None:
    """The reason for every "replace" in the table: asked in place, the kernel says yes and does nothing."""
    sh("ip addr add 10.94.1.1/24 dev dev0")
    before = sh("ip -d addr show dev dev0 to 10.94.1.1")
    sh("ip addr change 10.94.1.1/24 dev dev0 broadcast 10.94.1.255 scope link label dev0:x noprefixroute")
    assert sh("ip -d addr show dev dev0 to 10.94.1.1") == before


@pytest.mark.kernel
def test_what_the_kernel_and_dhcp_keep_is_no_row(engine: Round) -> None:
    sh("ip addr add 10.94.5.1/24 dev dev0 valid_lft 3600 preferred_lft 3600")
    assert "fe80::" in sh("ip addr show dev dev0")
    assert engine.plan(scope())[0].empty
    assert lines(engine, scope(address("", "dev0", "10.94.5.1/24"))) == [], "it is there, so it is not added again"
    local = next(word for word in sh("ip -6 addr show dev dev0 scope link").split() if word.startswith("fe80::"))
    assert engine.plan(scope(address("", "dev0", local)))[0].empty


@pytest.mark.kernel
def test_drift_on_our_link_goes_and_foreign_links_keep_theirs(engine: Round) -> None:
    sh("ip addr add 10.94.9.9/32 dev dev0; ip addr add 10.94.9.8/32 peer 10.94.9.7 dev dev0; ip addr add 10.94.8.8/24 dev dev1 metric 7")
    foreign = sh("ip -d addr show dev dev1")
    assert lines(engine, scope()) == [
        "ip addr del 10.94.9.8/32 peer 10.94.9.7/32 dev dev0",
        "ip addr del 10.94.9.9/32 dev dev0",
    ]
    assert engine.converge(scope()).converged
    assert sh("ip -d addr show dev dev1") == foreign
    mine = address("", "dev1", "10.94.8.9/24")
    assert engine.converge(scope(mine)).converged
    assert engine.converge(scope()).converged
    assert "10.94.8.9/24" in sh("ip addr show dev dev1"), "nothing tells that it is ours, so it stays"
    refused = engine.converge(scope(address("", "dev1", "10.94.8.8/24")))
    assert not refused.converged
    assert "differs in metric" in refused.errors[0]


@pytest.mark.kernel
def test_two_peers_under_one_address(engine: Round) -> None:
    sh("ip addr add 10.94.9.8/32 peer 10.94.9.7 dev dev0; ip addr add 10.94.9.8/32 peer 10.94.9.6 dev dev0")
    wanted = scope(Address(AddressKey("", "dev0", "10.94.9.8/32"), peer="10.94.9.6/32"))
    assert lines(engine, wanted) == ["ip addr del 10.94.9.8/32 peer 10.94.9.7/32 dev dev0"]
    assert engine.converge(wanted).converged


def test_prefixes_are_normalised() -> None:
    assert address("", "a", "FD00:0:0::1/064").key.prefix == "fd00::1/64"
    assert address("", "a", "10.0.0.1").key.prefix == "10.0.0.1/32"
    with pytest.raises(ValueError, match="300"):
        address("", "a", "10.0.0.300")
