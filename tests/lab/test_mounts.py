"""A lab of services: each node has its own pins and its own cgroup, and nothing of them stays."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.lab.mounts import BPFFS, CGROUP, join, unmount
from reconciler.lab.nodes import text_network
from tests.bpf.places import Unavailable, cgroup_root, pin_folder

pytestmark = pytest.mark.lab
SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}, n2: {address: 10.0.1.12/24, podCIDRs: [10.244.2.0/24]}}
fabric: {podNetwork: [10.244.0.0/16]}
"""


@pytest.fixture
def separable() -> None:
    """Where a bpffs and a version 2 cgroup can be had."""
    try:
        cgroup_root()
        with pin_folder():
            pass
    except Unavailable as reason:
        pytest.skip(str(reason))


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def cgroup_of(words: list[str]) -> str:
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return next(line for line in said.splitlines() if line.startswith("0::"))


@pytest.mark.usefixtures("separable")
def test_each_node_has_its_own_and_nothing_stays(name: str) -> None:
    lab = labs.raise_lab(name, [text_network(SPEC + "services: {}\n").cluster])
    roots = [Path(lab.root(node)) for node in ("n1", "n2")]
    assert all(f"{root / folder} " in mounts() for root in roots for folder in (BPFFS, CGROUP))
    (roots[0] / BPFFS / "mine").mkdir()
    assert not (roots[1] / BPFFS / "mine").exists()
    assert [cgroup_of(join(lab, node, ["cat", "/proc/self/cgroup"])) for node in ("n1", "n2")] == [
        f"0::/plumbline-lab.{name}.{node}" for node in ("n1", "n2")
    ]
    unmount(lab)
    unmount(lab)  # as after a crash in the middle
    labs.down(name)
    assert name not in mounts()


def test_a_lab_without_services_mounts_nothing(name: str) -> None:
    lab = labs.raise_lab(name, [text_network(SPEC).cluster])
    assert f"{lab.folder}/" not in mounts()
    assert join(lab, "n1", ["true"]) == ["true"]
