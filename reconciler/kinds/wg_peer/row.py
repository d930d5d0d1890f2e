"""One peer of a WireGuard device (wg(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.spelling import U16, Device, Ip, Network, Port
from reconciler.kinds.wireguard.keys import PublicKey, SecretFile


class WgPeerKey(NamedTuple):
    netns: str
    dev: Device
    public_key: PublicKey


class WgPeer(NamedTuple):
    """A peer, with the words of `wg set`. An endpoint that is stated is kept; one that is not is whichever the peer came from last."""

    key: WgPeerKey
    allowed_ips: tuple[Network, ...] = ()  # sorted; each belongs to one peer of a device
    endpoint: Ip = ""  # "": learned
    endpoint_port: Port = 51820
    persistent_keepalive: U16 = 0  # seconds; 0: off
    preshared_key: SecretFile = ""  # a file on the node; seen is only whether there is one: "set"
    adopt: bool = False  # manage what is stated of a peer that somebody else made
    origin: tuple[Origin, ...] = ()
