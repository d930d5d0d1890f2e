"""A daemon in a thread of its own, in this namespace, with a small Kubernetes API beside it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from reconciler.cluster.access import Access
from reconciler.cluster.publisher import NODE_NETWORKS
from reconciler.cluster.reflector import Timing
from reconciler.cluster.transport import Api
from reconciler.daemon.inputs import load_inputs
from reconciler.daemon.keeping import Keeper
from reconciler.daemon.link import Link
from reconciler.daemon.logs import make_logger
from reconciler.daemon.loop import Daemon
from reconciler.daemon.settings import Settings
from reconciler.daemon.state import StateFolder
from reconciler.facts.nodes import KnownNodes
from reconciler.intents import Memo
from tests.api.certificates import Certificates
from tests.api.server import SmallApi
from tests.cluster.objects import node
from tests.daemon.made import Running
from tests.namespaces import sh

ROOT = Path(__file__).parents[2]
NODES = "/api/v1/nodes"
QUICK = Timing(page=2, lasts=60, silence=60, first=0.02, most=0.1)
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {podNetwork: [10.244.0.0/16]}
"""
CONFLIST = "etc/cni/net.d/10-plumbline.conflist"


def peer(number: int, **how: Any) -> dict[str, Any]:
    """n1, n2, ...: each with an address and a pod CIDR of its own."""
    return node(f"n{number}", f"10.0.{number}.1{number}", f"10.244.{number}.0/24", **how)


class Cluster:
    """An API with Nodes, and one host of them: this namespace, and a folder for what is kept there."""

    def __init__(self, folder: Path, certificates: Certificates, nodes: int = 3) -> None:
        self.folder, self.certificates = folder, certificates
        sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
        sh("ip route add default via 10.0.1.1")
        self.api = SmallApi(certificates)
        self.api.start()
        self.api.kinds.define(yaml.safe_load((ROOT / "charts/plumbline/crds/nodenetworks.yaml").read_text()))
        for name in ("kube-system", "default", "plumbline-system"):
            self.api.put("/api/v1/namespaces", {"metadata": {"name": name}})
        for number in range(1, nodes + 1):
            self.api.put(NODES, peer(number))
        (folder / "token").write_text("admin")
        self.root = folder / "root"
        (self.root / CONFLIST).parent.mkdir(parents=True)
        self.config = folder / "network.yaml"
        self.config.write_text(NETWORK)
        self.good = ""  # what its daemon held, where a test keeps that

    @contextmanager
    def daemon(self, name: str = "n1", timing: Timing = QUICK, resync: float | None = None, configmap: str = "") -> Iterator[Node]:
        config = None if configmap else self.config
        settings = Settings(config, name, configmap=configmap, root=str(self.root), listen="off", verbose=True, cluster=True, resync=resync)
        log = io.StringIO()
        api = Api(Access((self.api.url,), self.certificates.authority, self.folder / "token", namespace="plumbline-system"))
        link = Link(settings, api, lambda watch, why: None, timing)
        keeper = Keeper(StateFolder(self.folder / "state"), link.live.restore)
        keeper.open()
        memo, known = Memo(), KnownNodes()
        before = set(threading.enumerate())
        daemon = Daemon(
            settings, make_logger(log, json=True, verbose=True, node=name), lambda: load_inputs(settings, memo, known, link.live), keeper, link=link
        )  # fmt: skip
        thread = threading.Thread(target=daemon.serve)
        thread.start()
        try:
            yield Node(self, daemon, log, link)
        finally:
            daemon.stop()
            thread.join(timeout=10)
            assert not thread.is_alive(), "the daemon does not stop"
            daemon.close()
            keeper.close()
            for one in set(threading.enumerate()) - before:
                if one.name != "publisher" and not one.name.startswith("watch "):
                    continue  # the API's
                one.join(timeout=10)  # a process would end with them
                assert not one.is_alive(), f"{one.name} does not end"
            api.close()

    def close(self) -> None:
        self.api.stop()


class Node(Running):
    """What can be asked of a daemon."""

    def __init__(self, cluster: Cluster, daemon: Daemon, log: io.StringIO, link: Link) -> None:
        super().__init__(daemon, log)
        self.cluster, self.link = cluster, link

    @property
    def ready(self) -> bool:
        return self.daemon.status.ready

    @property
    def trouble(self) -> str:
        """What the watches say, each its own."""
        return "; ".join(f"{one.name}: {one.trouble}" for one in self.link.known if one.trouble)

    def routes(self, *networks: str) -> Callable[[], bool]:
        """Whether exactly these pod CIDRs of others are routed, and nothing is left to do."""
        return lambda: routed() == sorted(networks) and self.ready

    def says(self, words: str) -> Callable[[], bool]:
        """Whether this is why it is not ready."""
        return lambda: words in self.daemon.status.not_ready

    @property
    def word(self) -> dict[str, Any]:
        """What its NodeNetwork says."""
        found = self.cluster.api.get(f"{NODE_NETWORKS}/{self.daemon.status.node}")
        return dict((found or {}).get("status", {}))


def routed() -> list[str]:
    return sorted(line.split()[0] for line in sh("ip route show proto 94").splitlines())
