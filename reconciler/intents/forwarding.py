"""The node forwards between pods and the world, without losing what router advertisements gave it."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.engine.model import Origin
from reconciler.intents import Context
from reconciler.kinds.sysctl import Sysctl, SysctlKey


def forwarding(context: Context, families: tuple[int, ...], origin: Origin) -> Iterator[Sysctl]:
    """Forwarding for the families of the pods.

    `net.ipv6.conf.all.forwarding=1` removes an RA-learned default route at once
    unless `accept_ra` is 2 on its device, so that goes first.
    """
    if 4 in families:
        yield Sysctl(SysctlKey("", "net.ipv4.ip_forward"), "1", origin=(origin,))
    if 6 in families:
        host = context.facts.host
        advertised = {route.dev for route in host.default_routes if route.protocol == "ra"} if host else set[str]()
        for dev in sorted(advertised):
            keeps = origin._replace(what=f"keeps the router advertisements' default route on {dev}")
            yield Sysctl(SysctlKey("", f"net.ipv6.conf.{dev.replace('.', '/')}.accept_ra"), "2", origin=(keeps,))
        yield Sysctl(SysctlKey("", "net.ipv6.conf.all.forwarding"), "1", origin=(origin,))
