"""Which pod is in which segment: the reference's meanings, ours, and what pods may not say."""

from __future__ import annotations

import pytest

from reconciler.facts.model import Facts, Host, Node, Pod
from reconciler.intents import Context, Remark, compile_node
from reconciler.intents.membership import Member, Members, members
from reconciler.kinds.marks import GROUP
from reconciler.spec.load import Loaded, load_text

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
REFERENCE, OURS = "vxlan.openvnf.org/networks", "plumbline.dev/segments"


def spec(text: str) -> Loaded:
    return load_text(HEAD + text)


def pod(name: str, address: str, text: str = "", ours: str = "", **more: object) -> Pod:
    notes = {key: value for key, value in ((REFERENCE, text), (OURS, ours)) if value}
    labels = {"vxlan.openvnf.org": "true", "app": name}
    values: dict[str, object] = {
        "namespace": "default", "name": name, "node": "n1", "addresses": tuple(address.split()), "labels": labels,
        "annotations": notes, "phase": "Running", **more,
    }  # fmt: skip
    return Pod(**values)  # type: ignore[arg-type]


def found(text: str, *pods: Pod) -> Members:
    return members(spec(text).spec, pods)


def only(result: Members) -> Member:
    assert not result.faults
    (everybody,) = result.segments.values()
    (member,) = everybody
    return member


ONE = "segments: {vx: {vni: 5}}\n"


def test_defaults_of_the_reference_and_ours() -> None:
    theirs = only(found(ONE, pod("a", "10.0.0.1", "vx")))
    assert (theirs.port, theirs.up, theirs.device, theirs.name) == (8472, False, "eth0", "vx")
    assert only(found(ONE, pod("a", "10.0.0.1", "vx up"))).up
    mine = only(found(ONE, pod("a", "10.0.0.1", ours="[vx]")))
    assert (mine.port, mine.up) == (4789, True)
    assert not only(found(ONE, pod("a", "10.0.0.1", ours="vx: {up: false}"))).up


def test_the_pod_s_word_over_the_segment_s() -> None:
    text = "segments: {vx: {vni: 5, up: true, ip: 10.1.0.1/24, device: net1, port: 9000, mtu: 1400, name: v5}}\n"
    member = only(found(text, pod("a", "10.0.0.1", "vx up=false ip=10.1.0.2/24")))
    assert member[1:] == ("vx", 5, "v5", "net1", False, 9000, ("10.1.0.2/24",), (), 1400)


def test_other_names_of_label_and_annotation() -> None:
    text = "segments: {vx: {vni: 5}}\nmembership: {label: a.example, annotation: a.example/nets, segmentsAnnotation: a.example/own}\n"
    one = pod("a", "10.0.0.1")
    assert found(text, one._replace(labels={"a.example": "true"}, annotations={"a.example/nets": "vx"})).segments["vx"]
    assert found(text, one._replace(annotations={"a.example/own": "[vx]"})).segments["vx"]
    assert not found(text, pod("a", "10.0.0.1", "vx", "[vx]")).segments


@pytest.mark.parametrize("label", ["false", "", "True"])
def test_without_the_label_the_reference_s_annotation_does_not_count(label: str) -> None:
    assert found(ONE, pod("a", "10.0.0.1", "vx", labels={"vxlan.openvnf.org": label})) == Members({}, [], {})
    assert found(ONE, pod("a", "10.0.0.1", ours="[vx]", labels={})).segments["vx"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_are_over_are_no_members_and_no_mistake(phase: str) -> None:
    assert found(ONE, pod("a", "10.0.0.1", "vx", phase=phase)) == Members({}, [], {})
    assert found(ONE, pod("a", "", "vx", phase="Pending")) == Members({}, [], {})
    assert found(ONE, pod("a", "10.0.0.1", "vx", phase="Pending")).segments["vx"], "init containers use the segment already"


FAULTS = [
    (ONE, pod("a", "10.0.0.1", "vy"), "vy", "known: ok, vx; or add segments.vy"),
    ("segments: {vx: {}}\n", pod("a", "10.0.0.1", "vx"), "vx", "has no VNI; say segments.vx.vni"),
    ("segments: {vxeth1: {vni: 5}}\n", pod("a", "10.0.0.1", "vxeth2"), "vxeth2", "did you mean vxeth1?"),
    (ONE, pod("a", "10.0.0.1", "vx updown"), "vx", "unknown option 'updown'"),
    (ONE, pod("a", "10.0.0.1", "vx ipp=1"), "vx", "did you mean ip?"),
    (ONE, pod("a", "10.0.0.1", "vx up=maybe"), "vx", "up: found 'maybe'; allowed: up, up=true, up=false"),
    (ONE, pod("a", "10.0.0.1", "vx ip=10.0"), "vx", "ip: '10.0' is no address"),
    (ONE, pod("a", "10.0.0.1", "vx ip"), "vx", "ip: needs a value"),
    (ONE, pod("a", "10.0.0.1", "vx route=10.0.0.0/8"), "vx", "allowed: NETWORK:GATEWAY"),
    (ONE, pod("a", "10.0.0.1", "vx id=x"), "vx", "id: 'x' is no VNI"),
    (ONE, pod("a", "10.0.0.1", "vx type=gre"), "vx", "type: 'gre'; allowed: vxlan"),
    (ONE, pod("a", "10.0.0.1", "vx name=a/b"), "vx", "no name for a network device"),
    (ONE, pod("a", "10.0.0.1", "vx id=6"), "vx", "add id to segments.vx.podOverrides"),
    (ONE, pod("a", "10.0.0.1", "vx dev=net1"), "vx", "add dev to segments.vx.podOverrides"),
    (ONE, pod("a", "10.0.0.1", "vx name=other"), "vx", "add name to segments.vx.podOverrides"),
    (ONE, pod("a", "10.0.0.1", "vx up ip=10.1.0.2/24 route=0.0.0.0/0:10.1.0.1"), "vx", "add defaultRoute to segments.vx.podOverrides"),
    (ONE, pod("a", "10.0.0.1", ours="vx: {ip: 10.1.0.2/24, routes: [{to: 0.0.0.0/1, via: 10.1.0.1}, {to: 128.0.0.0/1, via: 10.1.0.1}]}"),
     "vx", "may not set a default route"),
    (ONE, pod("a", "10.0.0.1", "vx", host_network=True), "", "hostNetwork"),
    (ONE, pod("a", "10.0.0.1", "vx, vx"), "vx", "named twice"),
    (ONE, pod("a", "10.0.0.1", "vx", "[vx]"), "vx", "named twice"),
    (ONE, pod("a", "10.0.0.1", ours="{vx: {upp: 1}}"), "vx", "did you mean up?"),
    (ONE, pod("a", "10.0.0.1", ours="7"), "", "annotation plumbline.dev/segments: is neither"),
    ("segments: {vx: {vni: 5, allow: {namespaces: [media]}}}\n", pod("a", "10.0.0.1", "vx"), "vx", "add it to segments.vx.allow.namespaces"),
    ("segments: {vx: {vni: 5, allow: {podSelector: {app: b}}}}\n", pod("a", "10.0.0.1", "vx"), "vx", "only pods with the label app: b"),
    ("segments: {vx: {vni: 5, name: eth0}}\n", pod("a", "10.0.0.1", "vx"), "vx", "eth0 is the name of the interface that the packets leave by"),
    ("segments: {a-name-far-too-long: {vni: 5}}\n", pod("a", "10.0.0.1", "a-name-far-too-long"), "a-name-far-too-long", "segments.a-name-far-too-long.name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "one", "segment", "says"), FAULTS)
def test_a_fault_is_told_at_pod_and_segment_and_holds_up_nobody(text: str, one: Pod, segment: str, says: str) -> None:
    result = found(text.replace("}\n", ", ok: {vni: 99}}\n"), one, pod("good", "10.0.0.9", ours="[ok]"))
    (fault,) = result.faults
    assert (fault.pod, fault.segment) == (one, segment)
    assert says in fault.text
    assert [member.pod.name for member in result.segments["ok"]] == ["good"]


def test_overrides_where_they_are_allowed() -> None:
    text = "segments: {vx: {podOverrides: [id, dev, name, defaultRoute]}}\n"
    member = only(found(text, pod("a", "10.0.0.1", "vx up id=7 dev=net1 name=x7 ip=10.1.0.2/24 route=0.0.0.0/0:10.1.0.1")))
    assert (member.vni, member.device, member.name, member.routes) == (7, "net1", "x7", (("0.0.0.0/0", "10.1.0.1"),))


def test_networks_that_only_a_pod_defines() -> None:
    text = "membership: {podDefined: true}\n"
    assert only(found(text, pod("a", "10.0.0.1", "mine id=9 up"))).vni == 9
    (fault,) = found(text, pod("a", "10.0.0.1", "mine up")).faults
    assert "no VNI" in fault.text


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("vx ip=10.1.0.2/24 route=10.9.0.0/16:10.1.0.1", "needs the interface up"),
        ("vx up ip=10.1.0.2/24 route=10.9.0.0/16:10.2.0.1", "which is not on the segment"),
        ("vx up route=10.9.0.0/16:10.1.0.1", "(ip: none said)"),
    ],
)
def test_a_route_that_the_kernel_would_refuse_is_left_out_and_the_pod_joins(said: str, says: str) -> None:
    result = found(ONE, pod("a", "10.0.0.1", said))
    (fault,) = result.faults
    assert says in fault.text
    assert result.segments["vx"][0].routes == ()


def test_two_segments_of_one_pod_cannot_hold_the_same_thing() -> None:
    two = "segments: {vx: {vni: 5}, vy: {vni: 5}, vz: {vni: 6, name: vx}, vw: {vni: 7}}\n"
    result = found(
        two,
        pod("a", "10.0.0.1", "vx up ip=10.1.0.2/24 route=10.9.0.0/16:10.1.0.1, vy, vz, vw up ip=10.2.0.2/24 route=10.9.0.0/16:10.2.0.1"),
    )
    assert {fault.segment: fault.text[:9] for fault in result.faults} == {"vy": "VNI 5 wit", "vz": "vx is the", "vw": "the pod's"}
    assert result.segments["vw"][0].routes == ()


def test_peers_are_all_others_once() -> None:
    result = found(ONE, *(pod(f"p{number}", f"10.0.0.{number}", "vx") for number in range(1, 5)), pod("again", "10.0.0.2", "vx"))
    assert result.peers(result.segments["vx"][0]) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_one_family_for_all_members() -> None:
    both = found(ONE, pod("a", "10.0.0.1 fd00::1", "vx"), pod("b", "fd00::2", "vx"))
    assert (both.families["vx"], both.peers(both.segments["vx"][0])) == (6, ["fd00::2"])
    split = found(ONE, pod("a", "10.0.0.1", "vx"), pod("b", "fd00::2", "vx"))
    assert [member.pod.name for member in split.segments["vx"]] == ["a"]
    assert "addresses of one family" in split.faults[0].text


def compiled(text: str, *pods: Pod, namespaces: dict[str, str]) -> tuple[list[object], list[Remark]]:
    loaded = spec(f"nodes: {{n1: {{}}, n2: {{}}}}\n{text}")
    facts = Facts({"n1": Node("n1"), "n2": Node("n2")}, Host("", 0, namespaces=namespaces), pods)
    result = compile_node(Context(loaded.spec, facts, "n1", loaded.where))
    assert not result.clashes
    return [row for kind in result.wanted.kinds() for row in result.wanted.rows(kind)], result.remarks


def test_rows_only_of_this_node_s_pods_and_only_where_they_are() -> None:
    far, here, waits = pod("far", "10.0.0.1", "vx", node="n2"), pod("here", "10.0.0.2", "vx"), pod("waits", "10.0.0.3", "vx")
    rows, remarks = compiled(ONE, far, here, waits, namespaces={"default/here": "cni-1"})
    assert {row.key.netns for row in rows} == {"cni-1"}  # type: ignore[attr-defined]
    assert [row.group for row in rows if hasattr(row, "group")] == [GROUP]
    assert sorted(row.dst for row in rows if hasattr(row, "dst")) == ["10.0.0.1", "10.0.0.3"]
    assert [remark.awaited for remark in remarks] == [True]


def test_two_pods_never_share_a_namespace() -> None:
    rows, remarks = compiled(ONE, pod("a", "10.0.0.1", "vx"), pod("b", "10.0.0.2", "vx"), namespaces={"default/a": "x", "default/b": "x"})
    assert sum(hasattr(row, "group") for row in rows) == 1
    assert [remark.error for remark in remarks] == [True]


def test_members_that_do_not_hear_each_other_are_told() -> None:
    _, remarks = compiled(
        ONE, pod("a", "10.0.0.1", "vx"), pod("b", "10.0.0.2", ours="[vx]"), namespaces={"default/a": "x", "default/b": "y"}
    )
    assert "different UDP ports: 4789 (default/b), 8472 (default/a); say segments.vx.port" in str(remarks[0])


def test_where_nobody_says_which_pods_there_are_nothing_is_concluded() -> None:
    loaded = spec(ONE)
    result = compile_node(Context(loaded.spec, Facts({}, Host("", 0), None), "n1", loaded.where))
    assert not len(result.wanted)
    assert "give them with --facts" in str(result.remarks[0])
