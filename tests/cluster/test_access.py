"""Where the API is and who we are to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster import access
from reconciler.cluster.access import Access, NoAccess, find_access
from reconciler.cluster.transport import Api, Trouble
from tests.api.certificates import Certificates
from tests.api.rules import User
from tests.api.server import SmallApi, _Handler

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's service account."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    for name, text in (("token", "t"), ("ca.crt", "c"), ("namespace", "plumbline-system\n")):
        (folder / name).write_text(text)
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", folder)
    return folder


def kubeconfig(path: Path, server: str, authority: Path, **user: Any) -> str:
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority": str(authority)}}],
                "users": [{"name": "it", "user": user}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            }
        )
    )  # fmt: skip
    return str(path)


def test_in_a_pod(account: Path) -> None:
    found = find_access((), "", POD)
    assert found == Access(("https://10.96.0.1:443",), account / "ca.crt", account / "token", namespace="plumbline-system")
    assert find_access((), "", {**POD, "KUBERNETES_SERVICE_HOST": "fd00::1", "POD_NAMESPACE": "other"})[0] == ("https://[fd00::1]:443",)
    assert find_access((), "", {**POD, "POD_NAMESPACE": "other"}).namespace == "other"
    assert find_access(("https://10.0.1.11:6443/",), "", {}).servers == ("https://10.0.1.11:6443",)
    with pytest.raises(NoAccess, match=r"cluster\.apiServers"):
        find_access((), "", {})


def test_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", tmp_path / "none")
    with pytest.raises(NoAccess, match="--kubeconfig"):
        find_access((), str(tmp_path / "none"), {})
    (tmp_path / "config").write_text("{}")
    both = f"{tmp_path / 'none'}:{tmp_path / 'config'}"
    assert find_access((), "", {"KUBECONFIG": both}).kubeconfig == both
    with pytest.raises(NoAccess, match="write https://HOST:PORT"):
        find_access(("10.0.1.11:6443",), "", POD)


@pytest.mark.parametrize("text", ["", "{}", "nonsense: [", '{"current-context": "gone", "contexts": [], "clusters": [], "users": []}'])
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(NoAccess, match="config"):
        Api(Access((), kubeconfig=str(tmp_path / "config")))


def test_a_kubeconfig_is_read_again_when_its_token_is_refused(server: SmallApi, certificates: Certificates, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", server.url, certificates.authority, **{"token": "admin"})
    api = Api(Access((), kubeconfig=path))
    try:
        assert api.get("/api/v1/nodes")["items"] == []
        server.users = {"second": User("admin")}
        kubeconfig(tmp_path / "config", server.url, certificates.authority, **{"token": "second"})
        with pytest.raises(Trouble, match="401"):
            api.get("/api/v1/nodes")
        assert api.get("/api/v1/nodes")["items"] == []
    finally:
        api.close()


def test_a_token_that_is_not_there(api: Api, access: Access) -> None:
    assert access.token is not None
    access.token.unlink()
    api._token.again()
    with pytest.raises(Trouble, match="the kubelet writes it"):
        api.get("/api/v1/nodes")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null"])
def test_whoever_answers_is_no_api(api: Api, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(_Handler, "_answer", lambda self: self._send(200, body, {}))
    if not body:
        assert api.get("/api/v1/nodes") == {}
        return
    with pytest.raises(Trouble, match="is it a Kubernetes API"):
        api.get("/api/v1/nodes")


def test_what_an_api_says_of_a_refusal_is_told(server: SmallApi, api: Api) -> None:
    with pytest.raises(Trouble) as trouble:
        api.get("/api/v1/nodes/n1")
    assert (trouble.value.status, trouble.value.reason) == (404, "NotFound")
    assert f'{server.url}/api/v1/nodes/n1: 404 nodes "n1" not found' in str(trouble.value)


def test_servers_said_later_are_asked_from_then_on_and_the_usual_ones_again(server: SmallApi, access: Access) -> None:
    away = SmallApi(server.certificates)
    away.start()
    away.stop()
    api = Api(access._replace(servers=(away.url,)))
    try:
        api.reach((server.url,))
        assert api.get("/api/v1/nodes")["items"] == []
        api.reach(())
        with pytest.raises(Trouble, match="Connection refused"):
            api.get("/api/v1/nodes")
    finally:
        api.close()
