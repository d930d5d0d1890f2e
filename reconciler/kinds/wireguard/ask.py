"""What `wg show` tells, one harmless word at a time: `wg show DEV` and `dump` would tell the private key too."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.engine.reader import Reader, Scope, ToolMissing
from reconciler.kinds.link.decode import REQUEST, decode

NONE = "(none)"


def devices(io: Reader, scope: Scope, *kinds: str) -> Iterator[tuple[str, str]]:
    """(namespace, name) of the WireGuard devices of the node's own namespace, and of those where the spec names something of them."""
    named = {row.key.netns for kind in kinds for row in scope.wanted.rows(kind)}
    for netns in scope.netns:
        if not netns or netns in named:
            for link in io.decoded(netns, REQUEST, decode):
                if link.type == "wireguard":
                    yield netns, link.key.name


def settings(io: Reader, netns: str, dev: str) -> dict[str, str]:
    """Public key, listening port and mark of a device, each as printed."""
    return {what: io.tool(netns, ("wg", "show", dev, what)).strip() for what in ("public-key", "listen-port", "fwmark")}


def peers(io: Reader, netns: str, dev: str) -> dict[str, dict[str, str]]:
    """By public key: endpoint, allowed IPs, keepalive, and whether there is a preshared key, which is forgotten at once."""
    found: dict[str, dict[str, str]] = {}
    for what in ("allowed-ips", "endpoints", "persistent-keepalive"):
        for key, told in _lines(io, netns, dev, what):
            found.setdefault(key, {})[what] = told
    for key, told in _lines(io, netns, dev, "preshared-keys"):
        found.setdefault(key, {})["preshared"] = "" if told == NONE else "set"
    return {key: told for key, told in found.items() if len(told) == 4}  # one that came or went in between is seen next time


def _lines(io: Reader, netns: str, dev: str, what: str) -> Iterator[tuple[str, str]]:
    for line in io.tool(netns, ("wg", "show", dev, what)).splitlines():
        key, _, told = line.partition("\t")
        yield key, told.strip()


def holds_nothing_for_us(failure: Exception, scope: Scope, kind: str) -> bool:
    """Without the tool nothing can be planned; who wants nothing of it need not be told."""
    return isinstance(failure, ToolMissing) and not scope.wanted.of(kind)
