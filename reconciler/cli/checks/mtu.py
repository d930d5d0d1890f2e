"""Do packets between pods fit into the uplink. Nothing inside VXLAN says that one did not."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.checks.finding import Finding, Looked
from reconciler.engine.model import Unknown
from reconciler.facts.model import Host
from reconciler.intents.fabric import OVERHEAD, device_mtu, pod_families, underlay_family
from reconciler.spec.model import Fabric

IPV6_LEAST = 1280  # bytes (RFC 8200)
HEADERS = {4: "IPv4 20, UDP 8, VXLAN 8, Ethernet 14", 6: "IPv6 40, UDP 8, VXLAN 8, Ethernet 14"}  # RFC 7348


def mtu(look: Looked) -> Iterator[Finding]:
    """The uplink's as said and as it is, the VXLAN device's, and that of the pods' bridge and its ports."""
    fabric, host = look.context.spec.fabric, look.context.facts.host
    if fabric is None or fabric.mode == "none" or host is None:
        return
    yield from _uplink(look, host)
    inside = device_mtu(look.context)
    if isinstance(inside, Unknown):
        yield Finding("unknown", "mtu", f"the MTU between pods: could not be told: {inside}")
        return
    if fabric.mode == "direct":
        yield Finding("ok", "mtu", f"pods may send {inside} bytes: no outer headers without overlay")
    else:
        yield from _device(look, fabric, host, inside)
    if 6 in pod_families(look.context) and inside < IPV6_LEAST:
        yield Finding(
            "problem",
            "mtu",
            f"{inside} bytes between pods are less than IPv6's {IPV6_LEAST}",
            "raise the uplink's MTU, or fabric.overlay.mtu",
        )
    yield from _bridge(look, inside)


def _uplink(look: Looked, host: Host) -> Iterator[Finding]:
    me = look.context.facts.nodes[look.context.node]
    if me.mtu is not None and me.mtu > host.mtu:
        yield Finding(
            "problem", "mtu", f"nodes.{me.name}.mtu says {me.mtu}, but {host.uplink} takes {host.mtu} bytes: larger packets are lost",
            f"ip link set dev {host.uplink} mtu {me.mtu}, where its switch carries that; or say nodes.{me.name}.mtu: {host.mtu}",
            f"ip link show {host.uplink}",
        )  # fmt: skip


def _device(look: Looked, fabric: Fabric, host: Host, inside: int) -> Iterator[Finding]:
    family = underlay_family(look.context, fabric)
    overhead, name = OVERHEAD[family], fabric.overlay.device
    room = host.mtu - overhead
    sum_ = f"{host.mtu} ({host.uplink}) − {overhead} ({HEADERS[family]}) = {room}"
    if inside > room:
        yield Finding(
            "problem", "mtu", f"{name} is to have {inside} bytes, and {room} fit: {sum_}",
            f"say fabric.overlay.mtu: auto, or {room} or less; or raise the MTU of {host.uplink} to {inside + overhead}",
        )  # fmt: skip
    elif inside < room:
        yield Finding(
            "note", "mtu", f"{name} is to have {inside} bytes, and {room} would fit: {sum_}", "fabric.overlay.mtu: auto uses all of it"
        )
    else:
        yield Finding("ok", "mtu", f"{sum_} for {name}")
    now = next((link.mtu for link in look.seen.rows("link") if link.key == ("", name)), None)
    if now not in (None, inside):
        yield Finding("note", "mtu", f"{name} has {now} bytes now; apply changes it to {inside}", evidence=f"ip link show {name}")


def _bridge(look: Looked, inside: int) -> Iterator[Finding]:
    """What the CNI plugin made with an earlier MTU stays as it was."""
    cni = look.context.spec.cni
    if cni is None:
        return
    links = [link for link in look.seen.rows("link") if not link.key.netns and isinstance(link.mtu, int) and link.mtu > inside]
    if any(link.key.name == cni.bridge for link in links):
        yield Finding(
            "problem", "mtu", f"{cni.bridge} takes more than the {inside} bytes that fit: large packets are lost without a word",
            f"ip link set dev {cni.bridge} mtu {inside}", f"ip link show {cni.bridge}",
        )  # fmt: skip
    pods = [link.key.name for link in links if link.master == cni.bridge]
    if pods:
        more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
        yield Finding(
            "problem", "mtu", f"{len(pods)} pods were made with an MTU above {inside}: their large packets are lost without a word",
            "restart these pods", f"{', '.join(pods[:3])}{more}",
        )  # fmt: skip
