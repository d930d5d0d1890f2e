"""Sysctls: names, values, and the running kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.sysctl import KIND, Sysctl, device_of, path_of, sysctl
from tests.kinds.address.test_address import observer
from tests.namespaces import sh


@pytest.fixture
def engine(netns: str) -> Iterator[Round]:
    node = KernelNode()
    yield Round(node, Kinds([KIND, observer(all_kinds()["link"])]))
    node.close()


def scope(*rows: Sysctl) -> Scope:
    return Scope(("",), Wanted({"sysctl": {row.key: row for row in rows}}))


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("net.ipv4.ip_forward", 0, 1),
        ("net.ipv4.tcp_rmem", "4096 131072 6291455", "4096 131072 6291456"),
        ("net.ipv4.ip_local_port_range", "30000 40000", "30000 50000"),
        ("net.ipv4.ip_local_reserved_ports", "", "8080,9148"),
        ("net.ipv4.conf.dev0.rp_filter", 0, 2),
        ("net.ipv6.conf.de/v1.accept_ra", 1, 2),
    ],
)
def test_value(engine: Round, name: str, first: object, second: object) -> None:
    sh("ip link add dev0 type veth peer name de.v1")
    assert engine.converge(scope(sysctl("", name, first))).converged
    plan, _ = engine.plan(scope(sysctl("", name, second)))
    sh("\n".join(str(line) for action in plan.actions for line in action.lines))
    assert engine.plan(scope(sysctl("", name, second)))[0].empty, "the pasted lines have the effect that was planned"
    repaired = engine.converge(scope(sysctl("", name, first)))
    assert repaired.converged, repaired.errors
    assert len(repaired.plans) == 2
    assert engine.plan(scope())[0].empty, "a parameter that leaves the spec stays as it is"


@pytest.mark.kernel
def test_a_name_that_the_kernel_lacks_is_refused_and_holds_up_nothing(engine: Round) -> None:
    result = engine.converge(scope(sysctl("", "net.ipv4.no_such_thing", 1), sysctl("", "net.ipv4.ip_forward", 1)))
    assert not result.converged
    assert len(result.errors) == 1
    assert "this kernel has no net.ipv4.no_such_thing" in result.errors[0]
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"


@pytest.mark.kernel
def test_a_device_that_is_not_there_is_named(engine: Round) -> None:
    plan, _ = engine.plan(scope(sysctl("", "net.ipv4.conf.dev9.rp_filter", 1)))
    assert "needs link dev9, which does not exist" in plan.actions[0].held


def test_names_and_their_files() -> None:
    assert path_of("net.ipv4.conf.eth0/100.rp_filter") == "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"
    assert device_of("net.ipv4.conf.eth0/100.rp_filter") == "eth0.100"
    assert device_of("net.ipv6.neigh.eth0.gc_stale_time") == "eth0"
    assert [device_of(f"net.ipv4.conf.{name}.rp_filter") for name in ("all", "default", "lo")] == ["", "", ""]
    assert device_of("net.ipv4.ip_forward") == ""
    for bad in ("kernel.core_pattern", "net", "net..x", "net.//.x", "net./.x", "/etc/passwd"):
        assert path_of(bad) is None, bad


def test_values_are_normalised() -> None:
    assert sysctl("", "net.a.b", True).value == "1"
    assert sysctl("", "net.a.b", 2).value == "2"
    assert sysctl("", "net.a.b", "1\t2  3\n").value == ("1", "2", "3")
    assert sysctl("", "net.a.b", " ").value == ""
