"""Whether this tier runs here, and the room that it runs in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.places import Unavailable, cgroup_root
from tests.cni import runtime as cni
from tests.containerd import cri, image, room
from tests.namespaces import sh

VARIABLE = "PLUMBLINE_CONTAINERD"
_PACKAGES = "Debian: containerd runc busybox-static python3-grpcio containernetworking-plugins bpftool"


def require() -> None:
    """Raises Unavailable."""
    missing = [tool for tool in ("containerd", "ctr", "runc", "bpftool", "unshare", "nsenter") if shutil.which(tool) is None]
    missing += [str(path) for path in (image.BUSYBOX, cni.REFERENCE / "bridge", Path(cri.PYTHON)) if not path.exists()]
    if not missing and subprocess.run([cri.PYTHON, "-c", "import grpc"], capture_output=True, check=False).returncode != 0:
        missing.append("python3-grpcio")
    if missing:
        raise Unavailable(f"missing: {' '.join(missing)} ({_PACKAGES})")
    if not (Path(__file__).parents[2] / "reconciler/bpf/stub.o").exists():
        raise Unavailable("the eBPF programs are not built: make bpf")
    cgroup_root()


@pytest.fixture
def its_room(netns: str, tmp_path: Path, plugin: Path) -> Iterator[room.Room]:
    """A containerd on a node with an uplink; the test runs in its network namespace."""
    sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
    sh("ip route add default via 10.0.1.1")
    with room.made(tmp_path / "room", netns, plugin) as made:
        yield made


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNI plugin, and the one place that says why there is no such tier here."""
    if not os.environ.get(VARIABLE):
        pytest.skip(f"a real container runtime: make test-containerd ({VARIABLE} is not set)")
    try:
        require()
        if cni.why_not():
            raise Unavailable(cni.why_not())
    except Unavailable as reason:
        if os.environ[VARIABLE] == "required":
            raise
        pytest.skip(str(reason))
    return cni.build(tmp_path_factory.mktemp("cni"))
