"""What a WireGuard device is set to, besides what every link has (wg(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.spelling import U16, Device
from reconciler.kinds.wireguard.keys import PublicKey, SecretFile


class WireguardKey(NamedTuple):
    netns: str
    dev: Device


class Wireguard(NamedTuple):
    """Settings of a WireGuard device. Its key is told by the public half; the private half is in a file that only a line names."""

    key: WireguardKey
    public_key: PublicKey | None = ""  # of private_key; None: not managed
    private_key: SecretFile | None = ""  # a file on the node, readable by root only; never read by plumbline
    listen_port: U16 | None = 0  # UDP; 0: whichever the kernel chose
    fwmark: int | None = 0  # of the outer packets; 0: none
    adopt: bool = False  # set what is stated of a device that somebody else made
    origin: tuple[Origin, ...] = ()
