"""Every test here runs on the small API; with `make test-kube` on a real one too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cluster.access import Access
from reconciler.cluster.transport import Api
from tests.api.certificates import Certificates
from tests.api.conftest import certificates
from tests.api.rules import Asked, User
from tests.api.server import SmallApi
from tests.api.store import Refused, Thing
from tests.kube.real import RealApi

__all__ = ["certificates"]
ROOT = Path(__file__).parents[2]
MANIFESTS = [
    one
    for name in ("namespace", "nodenetworks", "rbac", "node-claim")
    for one in yaml.safe_load_all((ROOT / f"deploy/base/{name}.yaml").read_text())
]

BINARY = os.environ.get("PLUMBLINE_KUBE_APISERVER", "")  # as `make test-kube` says it


class SmallCluster(SmallApi):
    """The small API with what the manifests install, as far as it goes."""

    def install(self, documents: list[Thing]) -> None:
        self.rules: dict[str, list[Any]] = {}
        for one in documents:
            if one["kind"] == "CustomResourceDefinition":
                self.kinds.define(one)
            elif one["kind"] in ("ClusterRole", "Role"):
                self.rules.setdefault(one["metadata"].get("namespace", ""), []).extend(one["rules"])
            elif one["kind"] == "ValidatingAdmissionPolicy":
                self.admission.append(_own_node)

    def daemon(self, node: str) -> str:
        self.users[f"token of {node}"] = User("system:serviceaccount:plumbline-system:plumbline", self.rules, node)
        return f"token of {node}"


def _own_node(user: User, asked: Asked, thing: Thing) -> None:
    """charts/plumbline/templates/node-claim.yaml, which the real one evaluates itself."""
    daemon = user.name == "system:serviceaccount:plumbline-system:plumbline"
    about = thing["regarding"]["name"] if asked.resource == "events" else thing["metadata"]["name"]
    if daemon and asked.resource.startswith(("nodenetworks", "events")) and user.node != about:
        raise Refused(403, "Forbidden", f"this token is of a pod on node '{user.node}'")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    server = RealApi(Path(BINARY), tmp_path_factory.mktemp("kube"))
    try:
        server.install(MANIFESTS)
        yield server
    finally:
        server.close()


@pytest.fixture(params=["small", "real"] if BINARY else ["small"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Whichever it is: put, get, delete, things, down, daemon."""
    if request.param == "real":
        server = request.getfixturevalue("real")
        yield server
        server.start()  # where a test failed while it was down
        return
    server = SmallCluster(request.getfixturevalue("certificates"))
    server.bookmarks = 1.0
    server.start()
    for name in ("kube-system", "default", "plumbline-system"):
        server.put("/api/v1/namespaces", {"metadata": {"name": name}})
    server.install(MANIFESTS)
    yield server
    server.stop()


@pytest.fixture
def outside(cluster: Any) -> Iterator[ThreadPoolExecutor]:
    """A thread where the API is, made before this one goes elsewhere."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(lambda: None).result()
        yield pool


class Ways:
    """Ways to the API, each as somebody."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self._cluster, self._folder, self._open = cluster, folder, list[Api]()

    def api(self, token: str = "") -> Api:
        """As whoever has a token; without one as somebody with all rights."""
        certificates: Certificates = self._cluster.certificates
        file = self._folder / f"token-{len(self._open)}"
        file.write_text(token or getattr(self._cluster, "token", "admin"))
        self._open.append(Api(Access((self._cluster.url,), certificates.authority, file, namespace="plumbline-system")))
        return self._open[-1]

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def ways(cluster: Any, tmp_path: Path) -> Iterator[Ways]:
    made = Ways(cluster, tmp_path)
    yield made
    made.close()
