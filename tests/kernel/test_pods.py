"""Pods' namespaces: found by what runtimes keep on disk, looked into for one observation, and never kept alive."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.guard import Limits
from reconciler.engine.merge import merge
from reconciler.engine.model import Action, Wanted
from reconciler.engine.observe import observe
from reconciler.engine.reader import NamespaceGone, ObservationFailed, Scope
from reconciler.engine.round import Failure, Result, Round
from reconciler.facts.model import Host, Pod
from reconciler.kernel.netns import entered, inside
from reconciler.kernel.node import KernelNode
from reconciler.kernel.pods import ByTemplate, Finder, Runtime, finder, node_scope, with_pods
from reconciler.kinds import all_kinds
from reconciler.kinds.address import address, marked
from reconciler.kinds.fdb import FLOOD, entry
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from reconciler.kinds.route import route
from tests.namespaces import sh

_numbers = itertools.count()


@pytest.fixture
def pod(netns: str) -> Iterator[str]:
    """A pod's namespace beside the test's own, with an eth0 of which the other end is the host's; its name."""
    name = f"plt-pod-{os.getpid()}-{next(_numbers)}"
    sh(f"ip netns add {name} && ip link add host0 type veth peer name eth0 netns {name} && ip -n {name} link set eth0 up")
    yield name
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def rows(netns: str, *peers: str, ip: str = "192.168.11.2/29") -> list[object]:
    """A member of a segment."""
    device = Link(LinkKey(netns, "vx1"), "vxlan", GROUP, "plumbline:segments", up=True, parent="eth0", info=Vxlan(id=101))
    return [
        device,
        marked(address(netns, "vx1", ip)),
        *(entry(netns, "vx1", FLOOD, peer) for peer in peers),
        route(netns, "192.168.12.0/29", via="192.168.11.1", dev="vx1"),
    ]


def scope(netns: str, *wanted: object) -> Scope:
    found, clashes = merge(all_kinds(), wanted)
    assert not clashes
    return Scope(("", netns), found)


def converge(asked: Scope, io: KernelNode | None = None) -> Result:
    node = io or KernelNode()
    try:
        return Round(node, all_kinds(), limits=Limits(1.0, 1000), name="n1").converge(asked)
    finally:
        node.close()


@pytest.mark.kernel
def test_a_round_in_a_pod_s_namespace_and_its_way_back(pod: str) -> None:
    done = converge(scope(pod, *rows(pod, "10.0.0.2", "10.0.0.3")))
    assert done.converged, done.errors
    assert not done.errors
    assert sh(f"bridge -n {pod} fdb show dev vx1").count(FLOOD) == 2
    assert "192.168.12.0/29 via 192.168.11.1 dev vx1 proto 94" in sh(f"ip -n {pod} route")
    assert "vx1" not in sh("ip link"), "nothing of it is in the node's own namespace"
    assert converge(scope(pod, *rows(pod, "10.0.0.2", "10.0.0.3"))).plans[0].empty
    gone = converge(scope(pod, *rows(pod, "10.0.0.3", ip="192.168.11.3/29")))
    assert gone.converged, gone.errors
    assert "10.0.0.2" not in sh(f"bridge -n {pod} fdb show dev vx1")
    assert "192.168.11.2/29" not in sh(f"ip -n {pod} addr")
    assert converge(Scope(("", pod), Wanted())).converged
    assert "vx1" not in sh(f"ip -n {pod} link")


@pytest.mark.kernel
def test_what_the_pod_does_itself_stays(pod: str) -> None:
    assert converge(scope(pod, *rows(pod, "10.0.0.2"))).converged
    sh(f"""
       ip -n {pod} addr add 192.168.11.6/29 dev vx1; ip -n {pod} -6 addr add fd00::6/64 dev vx1
       ip -n {pod} link add own0 type bridge; ip -n {pod} addr add 10.9.9.9/24 dev own0
       ip -n {pod} route add 10.77.0.0/16 dev vx1; bridge -n {pod} fdb add 02:00:00:00:00:99 dev vx1 dst 10.0.0.9
       ip -n {pod} neigh add 192.168.11.5 lladdr 02:00:00:00:00:99 dev vx1 nud permanent
       """)
    mine = sh(f"ip -n {pod} addr; ip -n {pod} route; bridge -n {pod} fdb show dev vx1; ip -n {pod} neigh")
    assert converge(scope(pod, *rows(pod, "10.0.0.2"))).plans[0].empty
    after = sh(f"ip -n {pod} addr; ip -n {pod} route; bridge -n {pod} fdb show dev vx1; ip -n {pod} neigh")
    assert [line for line in after.splitlines() if "valid_lft" not in line] == [
        line for line in mine.splitlines() if "valid_lft" not in line
    ]
    inside(pod, lambda: sh("sysctl -qw net.ipv4.conf.vx1.promote_secondaries=1"))  # as systemd sets it everywhere
    moved = converge(scope(pod, *rows(pod, "10.0.0.2", ip="192.168.11.3/29")))
    assert moved.converged, moved.errors
    assert "192.168.11.6/29" in sh(f"ip -n {pod} addr"), "the pod's own address stays when ours moves"


@pytest.mark.kernel
def test_an_address_that_the_pod_has_already_is_there(pod: str) -> None:
    only_device = rows(pod, "10.0.0.2")[:1]
    assert converge(scope(pod, *only_device)).converged
    sh(f"ip -n {pod} addr add 192.168.11.2/29 dev vx1")
    done = converge(scope(pod, *rows(pod, "10.0.0.2")))
    assert done.converged, done.errors
    assert not any("addr" in str(line) for plan in done.plans for action in plan.actions for line in action.lines)


class _Dying(KernelNode):
    """The pod dies when the first line is to run."""

    def __init__(self, pod: str) -> None:
        super().__init__()
        self._pod = pod

    def run(self, actions: list[Action]) -> list[Failure | None]:  # type: ignore[override]
        if actions[0].change.kind == "fdb":
            sh(f"ip netns del {self._pod}")
        return super().run(actions)


@pytest.mark.kernel
def test_a_pod_that_dies_in_the_middle_of_a_round_costs_its_action_and_no_error(pod: str) -> None:
    own = Link(LinkKey("", "br7"), "bridge", GROUP, "plumbline:resources", up=True)
    done = converge(scope(pod, own, *rows(pod, "10.0.0.2")), _Dying(pod))
    assert done.converged
    assert not done.errors
    assert [outcome.failure.message for outcome in done.outcomes if outcome.failure][:1] == [f"network namespace {pod} is gone"]
    assert "br7" in sh("ip link"), "the rest of the round ran"


@pytest.mark.kernel
def test_a_pod_that_is_gone_before_the_round_is_no_error(pod: str) -> None:
    asked = scope(pod, *rows(pod, "10.0.0.2"))
    sh(f"ip netns del {pod}")
    done = converge(asked)
    assert done.plans[0].empty
    assert not done.errors


@pytest.mark.kernel
def test_another_namespace_of_the_same_name_is_not_touched(pod: str) -> None:
    io = KernelNode()
    with io.visit([pod]) as absent:
        assert not absent
    sh(f"ip netns add {pod}-other; ip netns del {pod}; ip netns add {pod}")
    sh(f"ip netns del {pod}-other")
    found = Round(io, all_kinds(), name="n1").plan(scope(pod))[0]
    assert found.empty
    device = Link(LinkKey(pod, "br0"), "bridge", GROUP, up=True)
    (action,) = Round(io, all_kinds(), name="n1").plan(scope(pod, device))[0].actions
    sh(f"ip netns add {pod}-keep; ip netns del {pod}; ip netns add {pod}; ip netns del {pod}-keep")
    before = sh(f"ip -n {pod} link")
    (failure,) = io.run([action])
    io.close()
    if failure is not None:  # the kernel may give the very inode again: then nothing tells the two apart
        assert "no longer the one that was observed" in failure.message
        assert sh(f"ip -n {pod} link") == before


@pytest.mark.kernel
def test_looking_starts_no_process_and_keeps_no_dead_pod_alive(pod: str, monkeypatch: pytest.MonkeyPatch) -> None:
    io = KernelNode()
    assert converge(scope(pod, *rows(pod, "10.0.0.2"))).converged

    def refused(*words: object, **more: object) -> None:
        raise AssertionError("a process was started")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refused)
        seen = observe(all_kinds(), io, Scope(("", pod), Wanted()), ["link", "address", "neighbour", "fdb", "nexthop", "route", "rule"])
    assert any(row.key == LinkKey(pod, "vx1") for row in seen.rows("link"))
    assert "host0" in sh("ip link")
    sh(f"ip netns del {pod}")
    end = time.monotonic() + 5
    while "host0" in sh("ip link") and time.monotonic() < end:
        pass
    assert "host0" not in sh("ip link"), "the pod's veth is gone while we still run"
    io.close()


@pytest.mark.kernel
def test_a_namespace_that_may_not_be_entered_is_told_and_holds_up_no_other(pod: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.kernel import spaces

    monkeypatch.setattr(spaces, "opened", _refusing)
    own = Link(LinkKey("", "br7"), "bridge", GROUP, "plumbline:resources", up=True)
    done = converge(scope(pod, own, *rows(pod, "10.0.0.2")))
    assert "br7" in sh("ip link")
    assert not done.converged
    assert any(f"network namespace {pod}: Operation not permitted" in error for error in done.errors)


def _refusing(name: str) -> object:
    raise PermissionError(1, "Operation not permitted")


# -- finding them -----------------------------------------------------------------------------


def containerd(folder: Path, number: int, key: str, netns: str, *, uid: str = "", kind: str = "sandbox") -> Path:
    namespace, name = key.split("/")
    notes = {
        "io.kubernetes.cri.container-type": kind,
        "io.kubernetes.cri.sandbox-namespace": namespace,
        "io.kubernetes.cri.sandbox-name": name,
        "io.kubernetes.cri.sandbox-uid": uid,
    }
    return _written(folder / "k8s.io" / f"sandbox{number}" / "config.json", notes, netns)


def crio(folder: Path, number: int, key: str, netns: str, *, uid: str = "") -> Path:
    namespace, name = key.split("/")
    notes = {
        "io.kubernetes.cri-o.ContainerType": "sandbox",
        "io.kubernetes.pod.namespace": namespace,
        "io.kubernetes.pod.name": name,
        "io.kubernetes.pod.uid": uid,
    }
    return _written(folder / "overlay-containers" / f"box{number}" / "userdata" / "config.json", notes, netns)


def _written(path: Path, notes: dict[str, str], netns: str) -> Path:
    path.parent.mkdir(parents=True)
    spaces = [{"type": "pid"}, {"type": "network", **({"path": netns} if netns else {})}]
    path.write_text(json.dumps({"ociVersion": "1.1.0", "annotations": notes, "linux": {"namespaces": spaces}}))
    return path


def runtime(folder: Path) -> Runtime:
    return Runtime((f"{folder}/k8s.io/*/config.json", f"{folder}/*-containers/*/userdata/config.json"))


@pytest.mark.kernel
@pytest.mark.parametrize("write", [containerd, crio])
def test_both_runtimes_files_are_read(pod: str, tmp_path: Path, write: object) -> None:
    write(tmp_path, 1, "default/a", f"/var/run/netns/{pod}", uid="u-1")  # type: ignore[operator]
    write(tmp_path, 2, "default/host", "")  # type: ignore[operator]
    write(tmp_path, 3, "default/dead", "/var/run/netns/plt-nothing-here")  # type: ignore[operator]
    where = runtime(tmp_path)
    pods = [Pod("default", name, uid) for name, uid in (("a", "u-1"), ("host", ""), ("dead", ""), ("other", ""))]
    assert where.find(pods) == {"default/a": pod}
    assert where.every() == (pod,)
    assert where.find([Pod("default", "a", "another")]) == {}, "an earlier pod of the same name"


@pytest.mark.kernel
def test_of_several_sandboxes_the_newest_counts_and_changes_are_seen(pod: str, netns: str, tmp_path: Path) -> None:
    where = runtime(tmp_path)
    assert where.find([Pod("default", "a")]) == {}
    containerd(tmp_path, 0, "default/a", "/var/run/netns/plt-x", kind="container")
    (tmp_path / "k8s.io" / "torn").mkdir()
    (tmp_path / "k8s.io" / "torn" / "config.json").write_text('{"annotations": {')
    path = containerd(tmp_path, 1, "default/a", f"/run/netns/{pod}")
    os.utime(path, (1, 1))
    assert where.find([Pod("default", "a")]) == {"default/a": pod}
    sh(f"ip netns add {pod}-new")
    try:
        second = containerd(tmp_path, 2, "default/a", f"/run/netns/{pod}-new")
        assert where.find([Pod("default", "a")]) == {"default/a": f"{pod}-new"}
        second.unlink()
        assert where.find([Pod("default", "a")]) == {"default/a": pod}
    finally:
        sh(f"ip netns del {pod}-new")


@pytest.mark.kernel
def test_the_node_s_own_namespace_is_never_a_pod_s(netns: str, tmp_path: Path) -> None:
    containerd(tmp_path, 1, "default/a", f"/var/run/netns/{netns}")
    assert runtime(tmp_path).find([Pod("default", "a")]) == {}
    assert ByTemplate("/run/netns/{name}").find([Pod("default", netns)]) == {}
    (tmp_path / "plain").write_text("")
    assert ByTemplate(f"{tmp_path}/{{name}}").find([Pod("default", "plain")]) == {}


@pytest.mark.kernel
def test_a_template(pod: str, netns: str) -> None:
    where: Finder = ByTemplate("/run/netns/{name}")
    assert where.find([Pod("default", pod), Pod("default", "nobody")]) == {f"default/{pod}": pod}
    assert ByTemplate(f"/run/netns/{pod[:-1]}{{uid}}").every() == (pod,)
    host = with_pods(Host("eth0", 1500), where, [Pod("default", pod, node="n1"), Pod("default", pod, node="n2")], "n1")
    assert host.namespaces == {f"default/{pod}": pod}


@pytest.mark.kernel
def test_paths_are_entered_as_names_are(pod: str, netns: str) -> None:
    assert inside(f"/run/netns/{pod}", lambda: sh("ip link")) == sh(f"ip -n {pod} link")
    with pytest.raises(NamespaceGone), entered("/run/netns/plt-nothing-here"):
        pass
    found = converge(scope(f"/run/netns/{pod}", *rows(f"/run/netns/{pod}", "10.0.0.2")))
    assert found.converged, found.errors
    assert str(found.first.actions[0].lines[0]).startswith(f"nsenter --net=/run/netns/{pod} ip link add name vx1")


@pytest.mark.kernel
def test_pods_that_left_every_segment_are_looked_into(pod: str, tmp_path: Path) -> None:
    assert converge(scope(pod, *rows(pod, "10.0.0.2"))).converged
    containerd(tmp_path, 1, "default/a", f"/run/netns/{pod}")
    io = KernelNode()
    where = runtime(tmp_path)
    assert node_scope(io, where, (), Wanted()).netns == ("", pod)
    assert node_scope(io, where, None, Wanted()).netns == ("",), "nobody said which pods there are"
    sh(f"ip -n {pod} link del vx1")
    assert node_scope(io, where, (), Wanted()).netns == ("",), "nothing of ours is in there"
    io.close()


def test_the_environment_stands_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(finder(), Runtime)
    assert isinstance(finder("/run/netns/{uid}"), ByTemplate)
    monkeypatch.setenv("PLUMBLINE_POD_NETNS", "/run/netns/{name}")
    assert isinstance(finder(), ByTemplate)
    monkeypatch.setenv("PLUMBLINE_POD_NETNS", "relative/{name}")
    with pytest.raises(ObservationFailed, match="PLUMBLINE_POD_NETNS"):
        finder()
