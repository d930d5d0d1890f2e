"""WireGuard devices, their settings and peers on a real kernel, and where the secrets go: nowhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.reader import Scope, ToolMissing
from reconciler.engine.round import Result, Round
from reconciler.engine.serial import seen_document
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.spec.resources import BadResource, resource_row
from tests.namespaces import sh

KINDS = Kinds(all_kinds()[name] for name in ("link", "wireguard", "wg_peer"))
LINK = {"name": "wg0", "type": "wireguard", "mtu": 1420, "up": True}
A_KEY = "HVGtRF/c+xW5tG8rB5u3G5eHQbWnB5fto4opmqxQaFA="


def row(kind: str, **said: Any) -> Any:
    return resource_row(all_kinds()[kind], said)


def scope(*rows: Any) -> Scope:
    wanted, clashes = merge(KINDS, rows)
    assert not clashes, clashes
    return Scope(("",), wanted)


def new_key(path: Path) -> str:
    """Makes a private key there; its public half."""
    return sh(f"umask 077 && wg genkey > {path} && wg pubkey < {path}").strip()


@pytest.fixture(scope="module")
def engine() -> Round:
    return Round(KernelNode(), KINDS, name="n1")


@pytest.fixture
def here(netns: str, engine: Round) -> Iterator[None]:
    """In a namespace of a kernel that has WireGuard."""
    done = subprocess.run(["ip", "link", "add", "try0", "type", "wireguard"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this kernel has no WireGuard: {done.stderr.strip()}")
    sh("ip link del try0")
    yield
    engine._node.close()  # type: ignore[attr-defined]


def told(result: Result) -> str:
    """All that a round could show to anybody."""
    return f"{result}{json.dumps(seen_document(result.seen, KINDS))}"


@pytest.mark.kernel
@pytest.mark.vm
@pytest.mark.usefixtures("here")
def test_device_and_peers_are_made_changed_repaired_and_removed(engine: Round, tmp_path: Path) -> None:
    own, other, third = tmp_path / "own.key", tmp_path / "other.key", tmp_path / "third.key"
    public, first, second = new_key(own), new_key(other), new_key(third)
    preshared = tmp_path / "psk"
    sh(f"umask 077 && wg genpsk > {preshared}")
    device = row("wireguard", dev="wg0", publicKey=public, privateKey=str(own), listenPort=51820, fwmark=16)
    peer = {
        "dev": "wg0",
        "publicKey": first,
        "allowedIps": ["10.9.0.0/16", "fd09::/48"],
        "endpoint": "10.94.0.7",
        "persistentKeepalive": 25,
    }
    link = row("link", **LINK)

    both = scope(link, device, row("wg_peer", **peer, presharedKey=str(preshared)), row("wg_peer", dev="wg0", publicKey=second))
    made = engine.converge(both)
    assert made.converged, made.errors
    assert len(made.plans) == 2, "one round"
    assert sh("wg show wg0 listen-port").strip() == "51820"
    assert sh("wg show wg0 public-key").strip() == public
    assert sorted(sh("wg show wg0 peers").split()) == sorted([first, second])
    for path in (own, preshared):
        assert path.read_text().strip() not in told(made)
        assert str(path) in told(made)

    changed = scope(link, device._replace(fwmark=0), row("wg_peer", **{**peer, "allowedIps": ["10.9.0.0/16"], "endpoint": "fd94::7"}))
    result = engine.converge(changed)
    assert result.converged, result.errors
    assert sh("wg show wg0 endpoints").split() == [first, "[fd94::7]:51820"]
    assert sh("wg show wg0 preshared-keys").split()[1] == "(none)"
    assert engine.plan(changed)[0].empty

    sh(
        f"wg set wg0 listen-port 4711 fwmark 9 private-key {other} peer {second} allowed-ips 10.8.0.0/16 peer {first} persistent-keepalive 7"
    )
    repaired = engine.converge(changed)
    assert repaired.converged, repaired.errors
    assert sh("wg show wg0 public-key").strip() == public
    assert sh("wg show wg0 peers").split() == [first]
    assert own.read_text().strip() not in told(repaired)
    assert other.read_text().strip() not in told(repaired)

    assert engine.converge(scope(link)).converged
    assert sh("wg show wg0 peers") == ""
    assert engine.converge(scope()).converged
    assert "wg0" not in sh("ip -o link")


@pytest.mark.kernel
@pytest.mark.vm
@pytest.mark.usefixtures("here")
def test_a_file_that_is_missing_or_holds_another_key_is_told_by_its_name(engine: Round, tmp_path: Path) -> None:
    own, other = tmp_path / "own.key", tmp_path / "other.key"
    public = new_key(own)
    new_key(other)
    link = row("link", **LINK)
    wrong = engine.converge(scope(link, row("wireguard", dev="wg0", publicKey=public, privateKey=str(other))))
    assert any("no effect" in error and f"wg pubkey < {other}" in error for error in wrong.errors), wrong.errors
    assert other.read_text().strip() not in told(wrong)
    missing = engine.converge(scope(link, row("wireguard", dev="wg0", publicKey=public, privateKey=f"{own}.gone")))
    assert any(f"{own}.gone must be on the node" in error for error in missing.errors), missing.errors


@pytest.mark.kernel
@pytest.mark.vm
@pytest.mark.usefixtures("here")
def test_somebody_elses_device_keeps_its_key_and_peers(engine: Round, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.key"
    public = new_key(theirs)
    sh(f"ip link add wg9 type wireguard && wg set wg9 private-key {theirs} fwmark 3 peer {A_KEY} allowed-ips 10.7.0.0/16")
    assert engine.plan(scope())[0].empty
    refused = engine.converge(scope(row("wireguard", dev="wg9", fwmark=5)))
    assert refused.plans[-1].conflicts
    adopted = scope(
        row("wireguard", dev="wg9", fwmark=5, adopt=True), row("wg_peer", dev="wg9", publicKey=A_KEY, persistentKeepalive=9, adopt=True)
    )
    result = engine.converge(adopted)
    assert result.converged, result.errors
    assert sh("wg show wg9 fwmark").strip() == "0x5"
    assert sh("wg show wg9 public-key").strip() == public
    assert sh("wg show wg9 allowed-ips").split()[1] == "10.7.0.0/16"
    assert sh("wg show wg9 persistent-keepalive").split()[1] == "9"
    assert engine.plan(scope())[0].empty, "what was adopted stays as it is"


def test_a_key_in_the_place_of_its_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadResource) as found:
        row("wireguard", dev="wg0", publicKey=A_KEY, privateKey=A_KEY.replace("H", "J"))
    assert "the path of a file" in str(found.value)
    assert A_KEY.replace("H", "J") not in str(found.value)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"privateKey": "/etc/wg.key"}, "say publicKey too"),
        ({"publicKey": A_KEY}, "say privateKey too"),
        ({"publicKey": "short", "privateKey": "/etc/wg.key"}, "as `wg pubkey` prints it"),
        ({"publicKey": A_KEY, "privateKey": "wg.key"}, "the absolute path"),
    ],
)
def test_mistakes_are_told(said: dict[str, Any], error: str) -> None:
    with pytest.raises(BadResource, match=error):
        row("wireguard", dev="wg0", **said)


class _Without:
    """A node with a WireGuard device and no wg."""

    def decoded(self, netns: str, request: Any, decode: Any) -> list[Any]:
        return [row("link", **LINK)]

    def tool(self, netns: str, words: Any) -> str:
        raise ToolMissing("wg is not installed; it comes with wireguard-tools")


@pytest.mark.parametrize("name", ["wireguard", "wg_peer"])
def test_a_node_without_the_tool_is_told_only_if_it_wants_something(name: str) -> None:
    kind, io = all_kinds()[name], _Without()
    assert list(kind.observe(io, scope())) == []  # type: ignore[arg-type]
    wanted = row("wireguard", dev="wg0") if name == "wireguard" else row("wg_peer", dev="wg0", publicKey=A_KEY)
    with pytest.raises(ToolMissing):
        list(kind.observe(io, scope(wanted)))  # type: ignore[arg-type]
