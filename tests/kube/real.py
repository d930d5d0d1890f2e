"""A real kube-apiserver with etcd on loopback, used by tests as they use the small API."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.cluster.access import Access
from reconciler.cluster.transport import APPLY_PATCH, MERGE_PATCH, Api, Trouble
from tests.api.certificates import make

Thing = dict[str, Any]
MADE = ("/api/v1/namespaces/default", "/api/v1/namespaces/kube-system", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:discovery")
READY = 120.0  # seconds that both have to answer, on a machine that has other things to do
_KIND = {
    "nodes": "Node",
    "pods": "Pod",
    "configmaps": "ConfigMap",
    "namespaces": "Namespace",
    "serviceaccounts": "ServiceAccount",
    "leases": "Lease",
}


class RealApi:
    """Started once for many tests; what one of them leaves, another one may find."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.certificates = make(folder / "tls", names="IP:127.0.0.1,DNS:localhost")
        self._binary, self._folder = binary, folder
        self._etcd, self._client, self._peer = _ports(3)
        self.token, self.kubelet = secrets.token_hex(16), secrets.token_hex(16)  # somebody with all rights; node n1
        (folder / "tokens.csv").write_text(
            f'{self.token},admin,admin-uid,"system:masters"\n{self.kubelet},system:node:n1,kubelet-uid,"system:nodes"\n'
        )
        (folder / "admin").write_text(self.token)
        subprocess.run(["openssl", "genrsa", "-out", str(folder / "sa.key"), "2048"], check=True, capture_output=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.url = f"https://127.0.0.1:{self._client}"
        self.access = Access((self.url,), self.certificates.authority, folder / "admin", namespace="plumbline-system")
        self._keeper = self._start(
            "etcd", "etcd", "--data-dir", str(folder / "etcd"), f"--listen-client-urls=http://127.0.0.1:{self._etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd}", f"--listen-peer-urls=http://127.0.0.1:{self._peer}", "--unsafe-no-fsync",
        )  # fmt: skip
        self._server: subprocess.Popen[bytes] | None = None
        self.api = Api(self.access)
        self.start()

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def start(self) -> None:
        """Until it answers; nothing where it runs."""
        if self._server is not None:
            return
        folder, tls = self._folder, self.certificates
        self._server = self._start(
            "kube-apiserver", str(self._binary), f"--etcd-servers=http://127.0.0.1:{self._etcd}", "--bind-address=127.0.0.1",
            f"--secure-port={self._client}", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", f"--cert-dir={folder}",
            f"--tls-cert-file={tls.certificate}", f"--tls-private-key-file={tls.key}", f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={folder / 'sa.key'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}", "--shutdown-delay-duration=0s",
        )  # fmt: skip
        end = time.monotonic() + READY
        while not self._ready():
            assert self._server.poll() is None, (self._folder / "kube-apiserver.log").read_text()[-3000:]
            assert time.monotonic() < end, "it does not get ready"
            threading.Event().wait(0.2)

    def _ready(self) -> bool:
        """Whether what it makes for itself at its start is there."""
        try:
            return all(self.api.get(path) for path in MADE)
        except Trouble:
            return False

    def stop(self) -> None:
        """The API server goes; what it keeps stays."""
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        self.api.close()
        self.stop()
        self._keeper.kill()
        self._keeper.wait()

    # -- as the small API has it -----------------------------------------------------------------

    def put(self, path: str, thing: Thing) -> Thing:
        """Make it, or make it so."""
        name, plural = thing["metadata"]["name"], path.rpartition("/")[2]
        whole = {"apiVersion": _version(path), "kind": _KIND.get(plural, thing.get("kind", "")), **thing}
        if plural == "pods":
            whole = {**whole, "spec": {**whole["spec"], "terminationGracePeriodSeconds": 0}}
        try:
            made = self.api.send("POST", path, whole)
        except Trouble as trouble:
            if trouble.status != 409:
                raise
            made = self.api.send("PATCH", f"{path}/{name}", {one: whole[one] for one in whole if one != "status"}, content=MERGE_PATCH)
        if plural in ("nodes", "pods") and "status" in thing:
            made = self.api.send("PATCH", f"{path}/{name}/status", {"status": thing["status"]}, content=MERGE_PATCH)
        return made

    def delete(self, path: str) -> None:
        self.api.send("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})

    def get(self, path: str) -> Thing | None:
        try:
            return self.api.get(path)
        except Trouble as trouble:
            if trouble.status != 404:
                raise
            return None

    def things(self, path: str) -> list[Thing]:
        return list(self.api.get(path).get("items") or ())

    def install(self, documents: list[Thing], **query: str) -> None:
        """Plain manifests, by server-side apply. Raises Trouble."""
        for one in documents:
            namespace = one["metadata"].get("namespace")
            group, _, version = one["apiVersion"].rpartition("/")
            root = f"/apis/{group}/{version}" if group else f"/api/{version}"
            plural = one["kind"].lower().removesuffix("y") + ("ies" if one["kind"].endswith("y") else "s")
            path = f"{root}{f'/namespaces/{namespace}' if namespace else ''}/{plural}/{one['metadata']['name']}"
            self.api.send("PATCH", path, one, query={"fieldManager": "test", "force": "true", **query}, content=APPLY_PATCH)

    def daemon(self, node: str, image: str = "registry.example/plumbline:1") -> str:
        """The token of a daemon's pod on a node, with the node's name in it."""
        pods = "/api/v1/namespaces/plumbline-system/pods"
        container = {"name": "plumbline", "image": image, "imagePullPolicy": "Never"}
        spec = {"nodeName": node, "hostNetwork": True, "serviceAccountName": "plumbline", "containers": [container]}
        made = self.put(pods, {"metadata": {"name": f"plumbline-{node}"}, "spec": spec})
        bound = {"kind": "Pod", "apiVersion": "v1", "name": f"plumbline-{node}", "uid": made["metadata"]["uid"]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [], "boundObjectRef": bound}}
        token = str(self.api.send("POST", "/api/v1/namespaces/plumbline-system/serviceaccounts/plumbline/token", body)["status"]["token"])
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==="))
        assert claims["kubernetes.io"]["node"]["name"] == node
        return token


def _version(path: str) -> str:
    words = path.split("/")
    return words[2] if words[1] == "api" else f"{words[2]}/{words[3]}"


def _ports(count: int) -> list[int]:
    """Free ones, for a moment at least."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return found
