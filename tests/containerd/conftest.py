"""The room that a test of this tier runs in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cni import runtime as cni
from tests.containerd import room
from tests.namespaces import sh


@pytest.fixture
def its_room(netns: str, tmp_path: Path, plugin: Path) -> Iterator[room.Room]:
    """A containerd on a node with an uplink; the test runs in its network namespace."""
    sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
    sh("ip route add default via 10.0.1.1")
    with room.made(tmp_path / "room", netns, plugin) as made:
        yield made


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNI plugin."""
    return cni.build(tmp_path_factory.mktemp("cni"))
