"""A node with an uplink, and daemons on it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.configmap import ConfigMap
from tests.daemon.process import NETWORK, Daemon
from tests.namespaces import sh


@pytest.fixture
def config(tmp_path: Path) -> ConfigMap:
    made = ConfigMap(tmp_path / "config")
    made.swap(network=NETWORK)
    return made


@pytest.fixture
def start(netns: str, config: ConfigMap, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons on a node with an uplink; ends them when the test has ended."""
    sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
    sh("ip route add default via 10.0.1.1")
    started: list[Daemon] = []

    def start(*facts: Path, **how: tuple[str, ...]) -> Daemon:
        started.append(Daemon(tmp_path / f"log-{len(started)}", config.folder, tmp_path / "state", *facts, **how))
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.end(signal.SIGKILL)
