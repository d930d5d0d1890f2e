"""A node of a cluster whose API another namespace has: its uplink, its way there, its daemons."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reconciler.cluster.publisher import NODE_NETWORKS
from tests.daemon.process import Daemon
from tests.faults.clustered import NODES
from tests.kube.relay import Relay
from tests.namespaces import sh


class Site:
    """Node n1. `outside`: a thread where the API is."""

    def __init__(self, cluster: Any, outside: ThreadPoolExecutor, folder: Path) -> None:
        self.cluster, self.folder, self._outside = cluster, folder, outside
        sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
        sh("ip route add default via 10.0.1.1")
        self._relay = Relay(int(cluster.url.rpartition(":")[2]), self.there)
        for one in self.there(lambda: cluster.things(NODES)):  # an API that all tests share has theirs
            self.there(lambda one=one: cluster.delete(f"{NODES}/{one['metadata']['name']}"))
        self.daemons: list[Daemon] = []

    def there(self, call: Callable[[], Any]) -> Any:
        """Something done where the API is."""
        return self._outside.submit(call).result()

    def put(self, node: dict[str, Any]) -> None:
        self.there(lambda: self.cluster.put(NODES, node))

    def kubeconfig(self, name: str, token: str) -> Path:
        """Somebody's, whose token lies in a file of this name."""
        (self.folder / name).write_text(token)
        at = {"server": self.cluster.url, "certificate-authority": str(self.cluster.certificates.authority)}
        written = self.folder / f"{name}.kubeconfig"
        written.write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "it", "clusters": [{"name": "it", "cluster": at}],
                    "users": [{"name": "it", "user": {"tokenFile": str(self.folder / name)}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                }
            )
        )  # fmt: skip
        return written

    def start(self, token: str, *options: str, before: tuple[str, ...] = ()) -> Daemon:
        """A daemon with this token."""
        words = ("--cluster", "--kubeconfig", str(self.kubeconfig("plumbline", token)), *options)
        log = self.folder / f"log-{len(self.daemons)}"
        self.daemons.append(Daemon(log, self.folder / "network.yaml", self.folder / "state", options=words, before=before))
        return self.daemons[-1]

    @property
    def word(self) -> dict[str, Any]:
        """What this node says of itself at the API."""
        found = self.there(lambda: self.cluster.get(f"{NODE_NETWORKS}/n1")) or {}
        said: dict[str, Any] = found.get("status", {})
        return {**said, "conditions": {one["type"]: one["status"] for one in said.get("conditions", [])}}

    def close(self) -> None:
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.end(signal.SIGKILL)
        self._relay.close()
