"""Kernel parameters that decide whether packets between pods arrive, as they are now and as apply will leave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from reconciler.cli.checks.finding import Finding, Looked
from reconciler.engine.model import Key
from reconciler.facts.reach import subnet
from reconciler.intents.fabric import pod_families
from reconciler.kinds.sysctl import path_of

STRICT, LOOSE = 1, 2  # net.ipv4.conf.*.rp_filter, Documentation/networking/ip-sysctl.rst
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
PODS = 110  # the kubelet's default for one node (maxPods)


def sysctls(look: Looked) -> Iterator[Finding]:
    """Raises ObservationFailed."""
    fabric = look.context.spec.fabric
    if fabric is None or fabric.mode == "none":
        return
    yield from _forwarding(look)
    yield from _reverse_path(look, fabric.overlay.device if fabric.mode != "direct" else "")
    yield from _advertisements(look)
    yield from _bridges(look)
    yield from _neighbours(look)


def _now(look: Looked, name: str) -> int | None:
    """The value as it is; None where this kernel, or this namespace, does not have it. Raises ObservationFailed."""
    path = path_of(name)
    content = look.io.read("", path) if path else None
    try:
        return int(content) if content is not None else None
    except ValueError:
        return None


def _then(look: Looked, name: str) -> int | None:
    """The value as it will be after apply."""
    key: Key = ("", name)
    wanted = look.wanted.of("sysctl").get(key)
    return int(wanted.value) if wanted is not None and str(wanted.value).isdigit() else _now(look, name)


def _forwarding(look: Looked) -> Iterator[Finding]:
    for family in pod_families(look.context):
        name = FORWARDING[family]
        now, then = _now(look, name), _then(look, name)
        if now is None:
            missing = "IPv6 is switched off, and pods have it" if family == 6 else "it is not there"
            yield Finding(
                "problem",
                "sysctls",
                f"{name}: {missing}",
                "boot without ipv6.disable=1, or take the IPv6 networks out" if family == 6 else "",
            )
        elif then != 1 and not (family == 6 and then == LOOSE):
            yield Finding("problem", "sysctls", f"{name} is {then}: packets of pods end here", f"say sysctls: {{{name}: 1}}")
        else:
            yield Finding("ok", "sysctls", f"{name} is {now}" + ("" if now == then else f"; apply sets it to {then}"))


def _reverse_path(look: Looked, device: str) -> Iterator[Finding]:
    """Of `all` and the device's own the higher value counts. What a node sends from its own address comes in by the overlay."""
    if not device:
        return
    name = f"net.ipv4.conf.{device.replace('.', '/')}.rp_filter"
    own = _then(look, name)
    if own is None:  # the device is not there yet: a new one copies `default`
        own = _then(look, "net.ipv4.conf.default.rp_filter")
    value = max(own or 0, _then(look, "net.ipv4.conf.all.rp_filter") or 0)
    if value == STRICT:
        yield Finding(
            "note", "sysctls",
            f"rp_filter is strict on {device}: what another node's own address sends through the overlay is dropped here "
            "(clients in the host's network, NodePorts)",
            f"say sysctls: {{{name}: {LOOSE}}}", "the higher one of net.ipv4.conf.all.rp_filter and the device's",
        )  # fmt: skip
    else:
        yield Finding("ok", "sysctls", f"rp_filter is {value} on {device}: {'loose' if value == LOOSE else 'off'}")


def _advertisements(look: Looked) -> Iterator[Finding]:
    """With forwarding on, a device takes router advertisements only where accept_ra is 2."""
    host = look.context.facts.host
    if host is None or 6 not in pod_families(look.context) or not host.ipv6:
        return
    name = f"net.ipv6.conf.{host.uplink.replace('.', '/')}.accept_ra"
    value, routes = _then(look, name), [route for route in host.default_routes if route.family == 6]
    if value == LOOSE or value is None or any(route.protocol != "ra" for route in routes):
        yield Finding("ok", "sysctls", f"the IPv6 default route stays with forwarding on ({name} is {value})")
    elif routes:
        yield Finding(
            "problem",
            "sysctls",
            f"{name} will be {value}: forwarding takes away the default route of router advertisements",
            f"say sysctls: {{{name}: 2}}",
        )
    else:
        yield Finding(
            "note", "sysctls", f"{name} is {value}, and no IPv6 default route: with forwarding on, router advertisements are ignored",
            f"if {host.uplink} gets its route from a router, say sysctls: {{{name}: 2}}",
        )  # fmt: skip


def _bridges(look: Looked) -> Iterator[Finding]:
    """kube-proxy's answers between two pods of one bridge come back only if the bridge hands packets to iptables."""
    if look.context.spec.cni is None:
        return
    for family in pod_families(look.context):
        name = "net.bridge.bridge-nf-call-iptables" if family == 4 else "net.bridge.bridge-nf-call-ip6tables"
        value = _then(look, name)
        if value == 1:
            yield Finding("ok", "sysctls", f"{name} is 1")
            continue
        load = "modprobe br_netfilter (and a line in /etc/modules-load.d), then " if value is None else ""
        yield Finding(
            "note", "sysctls",
            f"{name} {'is not there' if value is None else f'is {value}'}: with kube-proxy, a pod that calls a service "
            "does not hear from a pod of its own node",
            f"{load}say sysctls: {{{name}: 1}}",
        )  # fmt: skip


def _neighbours(look: Looked) -> Iterator[Finding]:
    """The table holds who is resolved: nodes of our subnet and pods of this node; permanent entries are not counted (Linux 5.0)."""
    nodes = look.context.facts.nodes
    me = nodes[look.context.node]
    for family in (4, 6):
        mine = subnet(me, family)
        if mine is None:
            continue
        near = Counter(subnet(node, family) for node in nodes.values())[mine] - 1
        pods = PODS if me.pod_cidr(family) else 0
        name = f"net.ipv{family}.neigh.default.gc_thresh3"
        value = _then(look, name)
        sum_ = f"{near} nodes on this subnet + {pods} pods = {near + pods}"
        if value is None:
            yield Finding("note", "sysctls", f"{name} is seen in the host's own namespace only; it has to be above {sum_}")
        elif value < near + pods:
            yield Finding(
                "problem", "sysctls", f"{name} is {value}, and this node resolves more: {sum_}",
                f"say sysctls: {{{name}: {2 * (near + pods)}, {name[:-1]}2: {near + pods}}}",
            )  # fmt: skip
        else:
            yield Finding("ok", "sysctls", f"{name} is {value}, enough for {sum_}")
