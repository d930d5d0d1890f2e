"""Valid content that nobody may have meant."""

from __future__ import annotations

from typing import ClassVar

import pytest

from reconciler.daemon.suspicion import suspicion
from reconciler.engine.guard import Limits
from reconciler.facts.model import Node, NodeAddress
from reconciler.spec.cluster import Rollout
from reconciler.spec.load import load_text
from reconciler.spec.partition import wire
from tests.daemon.made import Made


def cluster(*numbers: int, name: str = "a", share: float = 0.3) -> Made:
    return Made("d", name=name, nodes=tuple(f"n{number}" for number in numbers), limits=Limits(share, 20))


def with_cidrs(**cidrs: int) -> Made:
    """Nodes by name, and the number of each one's pod CIDR; 0: none."""
    said = {name: (f"10.244.{number}.0/24",) if number else () for name, number in cidrs.items()}
    return Made("d", nodes=tuple(said), pod_cidrs=said, node=Node("n1", (NodeAddress("10.0.0.1", 24),), said["n1"]))


TEN = cluster(*range(1, 11))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (TEN, TEN),
        (TEN, cluster(*range(1, 30))),
        (TEN, cluster(*range(1, 9))),  # 2 of 9 peers
        (cluster(1, 2, 3), cluster(1, 2)),  # half of the peers, and just one
        (cluster(1), cluster(1)),
        (cluster(), cluster(1, 2)),
        (cluster(), cluster()),
        (TEN, cluster(*range(1, 6), share=0.6)),
        (cluster(1, 2), cluster(2)),  # this node alone is gone: told elsewhere
        (with_cidrs(n1=1, n2=2), with_cidrs(n1=1, b2=2)),  # renamed
        (with_cidrs(n1=1, n2=2, n3=3, n4=4), with_cidrs(n1=1, b2=2, b3=3, b4=4)),
        (with_cidrs(n1=1), with_cidrs(n1=7)),
    ],
)
def test_what_follows_without_a_word(before: Made, now: Made) -> None:
    assert suspicion(before, now, "n1") == ""


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (TEN, cluster(), "it names none of the other 9 nodes any more (n10, n2, n3, n4, n5, …)"),
        (TEN, cluster(1), "it names none of the other 9 nodes any more"),
        (cluster(1, 2), cluster(1), "it names none of the other 1 nodes any more (n2)"),
        (TEN, cluster(*range(1, 7)), "it leaves out 4 of the other 9 nodes (n10, n7, n8, n9); limits.maxDeletes is 30%"),
        (TEN, cluster(1, *range(20, 40)), "it names none of the other 9 nodes any more"),
        (with_cidrs(n1=1, n2=2), with_cidrs(n1=1, b2=7), "it names none of the other 1 nodes any more (n2)"),
        (with_cidrs(n1=1, n2=2), with_cidrs(n1=2), "it names none of the other 1 nodes any more (n2)"),
        (with_cidrs(n1=1), with_cidrs(n1=0), "node n1 has no pod CIDR any more, and had 10.244.1.0/24"),
        (
            with_cidrs(n1=1),
            with_cidrs(n1=1)._replace(node=Node("n1", (), ("10.244.1.0/24",))),
            "node n1 has no address any more, and had 10.0.0.1",
        ),
        (TEN, TEN._replace(name="b"), "metadata.name is b, and this node belongs to a"),
        (TEN, cluster(1, name="b"), "metadata.name is b, and this node belongs to a; it names none"),
    ],
)
def test_what_waits_for_a_person(before: Made, now: Made, why: str) -> None:
    assert why in suspicion(before, now, "n1")


def parted(vni: int, *, allowed: bool = False, **more: int) -> Made:
    return TEN._replace(wire={"fabric.overlay.vni": vni, **more}, rollout=Rollout(allow_partition=allowed))


def test_what_goes_over_the_wire_changes_only_on_purpose() -> None:
    why = suspicion(parted(4096), parted(5000), "n1")
    assert why.startswith("partition: fabric.overlay.vni is 5000 and was 4096: ")
    assert "rollout.allowPartition: true" in why
    assert not suspicion(parted(4096), parted(5000, allowed=True), "n1")
    assert not suspicion(parted(4096), parted(4096, other=1), "n1"), "something new parts nobody"
    assert not suspicion(parted(4096, other=1), parted(4096), "n1"), "nor does what is gone"


def test_what_goes_over_the_wire() -> None:
    head = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
    said = "fabric: {overlay: {port: 8472}}\nsegments: {a: {vni: 7}, b: {vni: 8, port: 4790}, c: {podOverrides: [id]}}\n"
    assert wire(load_text(head + said).spec) == {
        "fabric.overlay.vni": 4096, "fabric.overlay.port": 8472, "segments.a.vni": 7, "segments.b.vni": 8, "segments.b.port": 4790,
    }  # fmt: skip
    assert wire(load_text(head + "fabric: {mode: direct}\n").spec) == {}


def test_services_that_are_all_gone_at_once() -> None:
    why = suspicion(TEN._replace(served=40), TEN._replace(served=0), "n1")
    assert "none of the 40 services" in why
    assert not suspicion(TEN._replace(served=40), TEN._replace(served=None), "n1"), "nobody said so"
    assert not suspicion(TEN._replace(served=40), TEN._replace(served=1), "n1")
    assert not suspicion(TEN._replace(served=0), TEN._replace(served=0), "n1")


class Asked(Made):
    """Counts how often it was asked for what it works out anew each time."""

    asked: ClassVar[list[str]] = []

    def __getattribute__(self, name: str) -> object:
        if name == "pod_cidrs":
            Asked.asked.append(name)
        return super().__getattribute__(name)


def test_a_node_that_leaves_thousands_costs_one_question_of_each_side() -> None:
    Asked.asked.clear()
    before, now = (Asked("d", nodes=tuple(f"n{number}" for number in range(1, count))) for count in (100, 99))
    assert suspicion(before, now, "n1") == ""
    assert len(Asked.asked) == 2
