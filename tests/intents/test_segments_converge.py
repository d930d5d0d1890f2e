"""The namespaces of 20 pods come from any of their earlier states to what is wanted, on the real kernel."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.engine.guard import Limits
from reconciler.engine.round import Round
from reconciler.facts.model import Facts, Host, Node, Pod
from reconciler.intents import Context, compile_node
from reconciler.kernel.node import KernelNode
from reconciler.kernel.pods import ByTemplate, node_scope, with_pods
from reconciler.kinds import all_kinds
from reconciler.spec.load import load_text
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
PODS = 20
SPEC = load_text(
    "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {}}\n"
    "segments: {va: {vni: 11, podOverrides: [id, name]}, vb: {vni: 12, port: 9999}, vc: {vni: 13, mtu: 1400}}\n"
)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def prefix(namespaces_can_be_made: None) -> Iterator[str]:
    """Namespaces of 20 pods, each with an eth0 of which the other end is in the first one's; what their names begin with."""
    name = f"plt-conv-{os.getpid()}-{next(_numbers)}"
    every = [f"{name}_default_p{number}" for number in range(PODS)]
    sh("\n".join(f"ip netns add {one}" for one in every))
    try:
        sh("\n".join(f"ip -n {every[0]} link add h{number} type veth peer name eth0 netns {one}" for number, one in enumerate(every)))
        yield name
    finally:
        sh("\n".join(f"ip netns del {one}" for one in every))


def _seat(draw: st.DrawFn, segment: str, number: int) -> str:
    """What one pod says of one segment."""
    subnet = "abc".index(segment[1])
    said = [f"up: {draw(st.sampled_from(['true', 'true', 'false']))}"]
    seat = draw(st.sampled_from([number + 1, number + 101]))
    length = draw(st.sampled_from([24, 25]))
    addresses = draw(st.sampled_from(["none", "four", "both", "two"]))
    four, six, more = f"192.168.{subnet}.{seat}/{length}", f"'fd00:{subnet + 1}::{seat:x}/64'", f"192.168.{subnet}.{250 - number}/{length}"
    listed = {"none": "", "four": four, "both": f"{four}, {six}", "two": f"{four}, {more}"}[addresses]
    if listed:
        said.append(f"ip: [{listed}]")
        if draw(st.booleans()) and said[0] == "up: true":
            low = seat < 128 or length == 24
            said.append(f"routes: [{{to: 10.{subnet}.0.0/16, via: 192.168.{subnet}.{126 if low else 254}}}]")
    if segment == "va" and draw(st.booleans()):
        said.append(f"vni: {draw(st.sampled_from([11, 21]))}")
    return f"{segment}: {{{', '.join(said)}}}"


@st.composite
def states(draw: st.DrawFn) -> tuple[Pod, ...]:
    """Which pods there are, and what each says."""
    pods = []
    for number in range(PODS):
        segments = draw(st.sets(st.sampled_from(["va", "vb", "vc"])))
        note = "\n".join(_seat(draw, segment, number) for segment in sorted(segments))
        address = f"10.5.{draw(st.sampled_from([0, 1]))}.{number + 1}"
        pods.append(Pod("default", f"p{number}", "", "n1", (address,), annotations={"plumbline.dev/segments": note} if note else {}))
    return tuple(pods)


def _held(prefix: str) -> dict[str, list[str]]:
    """What the kernel holds in each of the namespaces, without what it makes by itself."""
    shown: dict[str, list[str]] = {}
    for number in range(PODS):
        netns = f"{prefix}_default_p{number}"
        text = sh(
            f"ip -n {netns} -d -o link show type vxlan; ip -n {netns} -o addr show scope global; "
            f"ip -n {netns} -4 route show proto 94; bridge -n {netns} fdb show | grep 00:00:00:00:00:00 || true"
        )
        text = re.sub(r"(?m)^\d+: |link/ether \S+|valid_lft.*|\\|tentative|secondary|qdisc \S+", "", text)
        shown[f"p{number}"] = sorted(" ".join(line.split()) for line in text.splitlines())
    return shown


def _converge(prefix: str, pods: tuple[Pod, ...]) -> None:
    where = ByTemplate(f"/run/netns/{prefix}_{{namespace}}_{{name}}")
    io = KernelNode()
    try:
        host = with_pods(Host("", 0), where, pods, "n1")
        found = compile_node(Context(SPEC.spec, Facts({"n1": Node("n1")}, host, pods), "n1", SPEC.where))
        assert not found.clashes
        scope = node_scope(io, where, pods, found.wanted)._replace()
        inner = scope._replace(netns=tuple(name for name in scope.netns if name))
        result = Round(io, all_kinds(), limits=Limits(1.0, 10_000), name="n1").converge(inner)
        assert result.converged, result.errors
        assert not result.errors
    finally:
        io.close()


# No shrinking: it takes minutes of namespaces, and the state before is printed as it is.
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate], database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(states(), min_size=2, max_size=3))
def test_from_any_earlier_state(prefix: str, history: list[tuple[Pod, ...]]) -> None:
    for state in history:
        _converge(prefix, state)
    held = _held(prefix)
    _converge(prefix, tuple(pod._replace(annotations={}) for pod in history[-1]))
    assert not any(_held(prefix).values()), "nothing is left when nobody is a member"
    _converge(prefix, history[-1])
    assert _held(prefix) == held, "the same as from nothing"
