"""The daemon itself, in a namespace of its own, with the token and the rights that the manifests give, beside an API."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.publisher import NODE_NETWORKS
from tests.daemon.process import Daemon, held
from tests.faults.clustered import NETWORK, NODES, peer, routed
from tests.kube.relay import Relay
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
SOON = 90.0  # seconds: after a failure it is asked again within a minute


@pytest.fixture
def outside(cluster: Any) -> Iterator[ThreadPoolExecutor]:
    """A thread where the API is, made before this one goes elsewhere."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(lambda: None).result()
        yield pool


class Site:
    """A node of the cluster, and its daemons."""

    def __init__(self, cluster: Any, outside: ThreadPoolExecutor, folder: Path) -> None:
        self.cluster, self.folder, self._outside = cluster, folder, outside
        sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
        sh("ip route add default via 10.0.1.1")
        self._relay = Relay(int(cluster.url.rpartition(":")[2]), self.there)
        for one in self.there(lambda: cluster.things(NODES)):  # an API that all tests share has theirs
            self.there(lambda one=one: cluster.delete(f"{NODES}/{one['metadata']['name']}"))
        for number in (1, 2, 3):
            self.put(peer(number))
        (folder / "token").write_text(self.there(lambda: cluster.daemon("n1")))
        (folder / "network.yaml").write_text(NETWORK)
        at = {"server": cluster.url, "certificate-authority": str(cluster.certificates.authority)}
        (folder / "kubeconfig").write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "it", "clusters": [{"name": "it", "cluster": at}],
                    "users": [{"name": "it", "user": {"tokenFile": str(folder / "token")}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                }
            )
        )  # fmt: skip
        self.daemons: list[Daemon] = []

    def there(self, call: Callable[[], Any]) -> Any:
        """Something done where the API is."""
        return self._outside.submit(call).result()

    def put(self, node: dict[str, Any]) -> None:
        self.there(lambda: self.cluster.put(NODES, node))

    def start(self) -> Daemon:
        words = ("--cluster", "--kubeconfig", str(self.folder / "kubeconfig"))
        log = self.folder / f"log-{len(self.daemons)}"
        self.daemons.append(Daemon(log, self.folder / "network.yaml", self.folder / "state", options=words))
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


@pytest.fixture
def site(cluster: Any, outside: ThreadPoolExecutor, netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("POD_NAMESPACE", "plumbline-system")
    made = Site(cluster, outside, tmp_path)
    yield made
    made.close()


def routes(*numbers: int) -> Callable[[], bool]:
    return lambda: routed() == [f"10.244.{number}.0/24" for number in numbers]


def test_the_daemon_and_an_api_that_goes_and_comes(site: Site) -> None:
    daemon = site.start()
    daemon.until(daemon.ready, 30)
    assert routes(2, 3)()
    daemon.until(lambda: site.word["conditions"].get("Ready") == "True", 30)
    assert site.word["digest"] == hashlib.sha256(NETWORK.encode()).hexdigest()
    site.put(peer(4))
    daemon.until(routes(2, 3, 4))
    site.put(peer(4, beat=7))
    good = held()

    site.there(site.cluster.stop)
    daemon.until(lambda: any(one["trouble"] for one in daemon.status["watches"]), 30)
    sh("ip route del 10.244.3.0/24")
    daemon.until(lambda: held() == good)
    assert daemon.ready(), "as far as anybody knows"
    daemon.end()
    sh("ip link del plumb0")
    daemon = site.start()
    daemon.until(lambda: held() == good)
    daemon.until(lambda: "has not answered yet" in daemon.get("/readyz")[1])
    assert daemon.status["spec"]["source"] == "disk"

    site.there(site.cluster.start)
    daemon.until(daemon.ready, SOON)
    assert held() == good
    site.there(lambda: site.cluster.delete(f"{NODES}/n3"))
    daemon.until(routes(2, 4), SOON)
    daemon.until(lambda: site.word.get("source") == "live" and site.word["conditions"]["Ready"] == "True", SOON)
    assert not [line for line in daemon.logged("the API does not answer") if "403" in line["why"]], "the manifests give the rights"
