"""Kind `wireguard`: what WireGuard devices are set to."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import NO_EFFECT, Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import ObservationFailed, Reader, Scope
from reconciler.kinds.marks import GROUP
from reconciler.kinds.needs import on_link
from reconciler.kinds.spelling import BadValue
from reconciler.kinds.wireguard.ask import NONE, devices, holds_nothing_for_us, settings
from reconciler.kinds.wireguard.row import Wireguard, WireguardKey

__all__ = ["KIND", "Wireguard", "WireguardKey", "on_wireguard_of_ours"]


def on_wireguard_of_ours(netns: str, dev: str, seen: Seen) -> Owner:
    """OURS on a WireGuard device that we made: it is ours alone."""
    ours = any(link.group == GROUP and link.type == "wireguard" for link in seen.at("link", (netns, dev)))
    return Owner.OURS if ours else Owner.FOREIGN


class WireguardKind(Kind[Wireguard]):
    """Known as ours by its link.

    Every WireGuard device has settings, from the moment that it is there; they go
    with it and are never deleted. No private key is ever read: whether a device
    holds the right one is told by its public key.
    """

    name = "wireguard"
    rank = 25
    row = Wireguard
    grammar = (("wg", "set"),)
    uncompared = 2
    deletes = False
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[Wireguard]:
        try:
            return [_row(netns, dev, settings(io, netns, dev)) for netns, dev in devices(io, scope, self.name)]
        except ObservationFailed as failure:
            if holds_nothing_for_us(failure, scope, self.name):
                return []
            raise

    def owner(self, row: Wireguard, seen: Seen) -> Owner:
        return on_wireguard_of_ours(row.key.netns, row.key.dev, seen)

    def needs(self, row: Wireguard) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def differs(self, old: Wireguard, new: Wireguard) -> tuple[str, ...]:
        settled = {"private_key"} | ({"listen_port"} if not new.listen_port else set())
        return tuple(name for name in super().differs(old, new) if name not in settled)

    def normal(self, row: Wireguard) -> Wireguard:
        if row.private_key and not row.public_key:
            raise BadValue("say publicKey too (`wg pubkey < FILE`): it tells whether a device holds this key", "private_key")
        if row.public_key and not row.private_key:
            raise BadValue("say privateKey too: the file on the node that holds the private half", "public_key")
        return row if row.public_key else row._replace(public_key=None)

    def advice(self, row: Wireguard, failure: str) -> str:
        if "fopen" in failure or "not the correct length" in failure:
            return f"{row.private_key} must be on the node and hold one private key, as `wg genkey` prints it"
        if failure == NO_EFFECT and row.public_key:
            return f"the key in {row.private_key} has another public half than publicKey: `wg pubkey < {row.private_key}` prints it"
        return ""

    def fresh(self, row: Wireguard) -> Wireguard:
        return Wireguard(row.key)


def _row(netns: str, dev: str, told: dict[str, str]) -> Wireguard:
    public_key = "" if told["public-key"] == NONE else told["public-key"]
    fwmark = 0 if told["fwmark"] == "off" else int(told["fwmark"], 16)
    return Wireguard(WireguardKey(netns, dev), public_key, "", int(told["listen-port"]), fwmark)


KIND = WireguardKind()
