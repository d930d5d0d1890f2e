"""Kind `wg_peer`: peers of WireGuard devices."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Claim, Owner, Ref, Seen
from reconciler.engine.reader import ObservationFailed, Reader, Scope
from reconciler.kinds.needs import on_link
from reconciler.kinds.wg_peer.row import WgPeer, WgPeerKey
from reconciler.kinds.wireguard import on_wireguard_of_ours
from reconciler.kinds.wireguard.ask import NONE, devices, holds_nothing_for_us, peers

__all__ = ["KIND", "WgPeer", "WgPeerKey"]


class WgPeerKind(Kind[WgPeer]):
    """Known as ours by its link: on a WireGuard device of ours, a peer that nothing wants may talk to us, and goes.

    On a device of somebody else peers are theirs.
    """

    name = "wg_peer"
    rank = 26
    row = WgPeer
    grammar = (("wg", "set"),)
    uncompared = 2
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[WgPeer]:
        try:
            return [
                _row(WgPeerKey(netns, dev, key), told)
                for netns, dev in devices(io, scope, self.name)
                for key, told in peers(io, netns, dev).items()
            ]
        except ObservationFailed as failure:
            if holds_nothing_for_us(failure, scope, self.name):
                return []
            raise

    def owner(self, row: WgPeer, seen: Seen) -> Owner:
        return on_wireguard_of_ours(row.key.netns, row.key.dev, seen)

    def needs(self, row: WgPeer) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def claims(self, row: WgPeer) -> tuple[Claim, ...]:
        return tuple(Claim("WireGuard allowed IP", (row.key.netns, row.key.dev, network)) for network in row.allowed_ips or ())

    def differs(self, old: WgPeer, new: WgPeer) -> tuple[str, ...]:
        settled = set() if new.endpoint else {"endpoint", "endpoint_port"}
        if bool(old.preshared_key) is bool(new.preshared_key):
            settled.add("preshared_key")
        return tuple(name for name in super().differs(old, new) if name not in settled)

    def replaces(self, old: WgPeer, new: WgPeer) -> str | None:
        if old.allowed_ips and new.allowed_ips == ():
            return "the last allowed IP of a peer cannot be taken away from it"
        return None

    def normal(self, row: WgPeer) -> WgPeer:
        return row if row.allowed_ips is None else row._replace(allowed_ips=tuple(sorted(set(row.allowed_ips))))

    def advice(self, row: WgPeer, failure: str) -> str:
        if "fopen" in failure or "not the correct length" in failure:
            return f"{row.preshared_key} must be on the node and hold one key, as `wg genpsk` prints it"
        return ""

    def fresh(self, row: WgPeer) -> WgPeer:
        return WgPeer(row.key)


def _row(key: WgPeerKey, told: dict[str, str]) -> WgPeer:
    allowed = () if told["allowed-ips"] == NONE else tuple(sorted(told["allowed-ips"].split()))
    endpoint, _, port = ("", "", "51820") if told["endpoints"] == NONE else told["endpoints"].rpartition(":")
    keepalive = 0 if told["persistent-keepalive"] == "off" else int(told["persistent-keepalive"])
    return WgPeer(key, allowed, endpoint.strip("[]"), int(port), keepalive, told["preshared"])


KIND = WgPeerKind()
