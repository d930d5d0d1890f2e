"""Where the Kubernetes API is and who we are to it: a pod's service account, or a kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where every pod finds its own


class NoAccess(Exception):
    """Nothing says how to reach an API; says what to give."""


class Access(NamedTuple):
    """Where to ask, in this order, and as whom."""

    servers: tuple[str, ...]  # https://HOST:PORT; empty: the one that the kubeconfig names
    authority: Path | None = None  # certificates that the server's must be signed by
    token: Path | None = None  # read again whenever it changes: the kubelet renews it
    kubeconfig: str = ""  # one path, or several with colons between
    namespace: str = "default"  # our own


def find_access(servers: Iterable[str] = (), kubeconfig: str = "", environment: Mapping[str, str] = os.environ) -> Access:
    """As said, else as the pod's environment says, else the usual kubeconfig. Raises NoAccess."""
    given = tuple(server.rstrip("/") for server in servers)
    for server in given:
        if not server.startswith(("https://", "http://")):
            raise NoAccess(f"{server}: write https://HOST:PORT for an API server")
    account = SERVICE_ACCOUNT
    if not kubeconfig and (account / "token").exists():
        namespace = environment.get("POD_NAMESPACE") or (account / "namespace").read_text().strip()
        return Access(given or (_of_environment(environment),), account / "ca.crt", account / "token", namespace=namespace)
    path = kubeconfig or environment.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    if not any(Path(one).exists() for one in path.split(os.pathsep)):
        raise NoAccess(
            f"{path}: no such file, and no service account in {account}: in a pod, leave automountServiceAccountToken on; "
            "elsewhere, name a kubeconfig with --kubeconfig"
        )
    return Access(given, kubeconfig=path, namespace=environment.get("POD_NAMESPACE") or "default")


def _of_environment(environment: Mapping[str, str]) -> str:
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise NoAccess("KUBERNETES_SERVICE_HOST is not set: say where the API is, cluster.apiServers in network.yaml or --api-server")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
