"""Intent `segments`: pods as members of VXLAN segments, in the pods' own namespaces.

In each member's namespace: the VXLAN device, its addresses and routes, and for every other
member of the segment one entry that says where to flood to. Who is who is then learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reconciler.engine.model import Origin, Unknown
from reconciler.facts.model import Pod
from reconciler.intents import Context, Remark
from reconciler.intents.membership import Member, Members, members
from reconciler.intents.vtep import derived_mac
from reconciler.kinds.address import address, marked
from reconciler.kinds.fdb import FLOOD, entry
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from reconciler.kinds.route import route


def rows(context: Context) -> Iterable[Any]:
    """The rows of this node's pods, and what is wrong with them."""
    spec = context.spec
    if not spec.segments and not spec.membership.pod_defined:
        return
    if context.facts.pods is None:
        yield Remark("which pods there are is not known, so none joins a segment: give them with --facts", context.where(("segments",)))
        return
    found = members(spec, _pods(context))
    yield from (Remark(str(fault), error=True) for fault in found.faults if fault.pod.node == context.node)
    yield from _split(found, context)
    holders: dict[str, Pod] = {}
    for mine in found.by_pod().values():
        pod = mine[0].pod
        if pod.node != context.node:
            continue
        netns = netns_of(context, pod)
        if not netns:
            yield Remark(f"{pod.where or pod.key}: its network namespace is not here yet; it joins its segments once it is", awaited=True)
        elif holders.setdefault(netns, pod) is not pod:
            yield Remark(f"{pod.where or pod.key}: has the network namespace of {holders[netns].key}, and is left out", error=True)
        else:
            for member in mine:
                yield from _rows(context, found, member, netns)


def netns_of(context: Context, pod: Pod) -> str:
    """Name or path of a pod's namespace; "" where the node does not know it; offline, nobody does."""
    if context.facts.host is None:
        return Unknown(f"netns of {pod.key}")
    return context.facts.host.namespaces.get(pod.key, "")


def underlay_devices(context: Context) -> Iterator[LinkKey]:
    """The devices that this node's members must have already, by which their packets leave."""
    if context.spec.segments or context.spec.membership.pod_defined:
        for everybody in members(context.spec, _pods(context)).segments.values():
            for member in everybody:
                if member.pod.node == context.node and (netns := netns_of(context, member.pod)):
                    yield LinkKey(netns, member.device)


def _pods(context: Context) -> Sequence[Pod]:
    """All pods; those that were just connected here with the addresses that they got, of which the API tells later."""
    pods, host = context.facts.pods or (), context.facts.host
    if host is None or not host.attached:
        return pods
    return [pod._replace(addresses=host.attached.get(pod.key, pod.addresses)) for pod in pods]


def _split(found: Members, context: Context) -> Iterator[Remark]:
    """Members of one segment that do not hear each other."""
    for name, everybody in found.segments.items():
        if not any(member.pod.node == context.node for member in everybody):
            continue
        for what, values, remedy in (
            ("UDP ports", {member.port: member for member in everybody}, f"say segments.{name}.port"),
            ("VNIs", {member.vni: member for member in everybody}, "take id out of the pods' annotations"),
        ):
            if len(values) > 1:
                said = ", ".join(f"{value} ({member.pod.key})" for value, member in sorted(values.items()))
                yield Remark(f"members of segment {name} do not hear each other: they have different {what}: {said}; {remedy}",
                             context.where(("segments", name)))  # fmt: skip


def _rows(context: Context, found: Members, member: Member, netns: str) -> Iterator[Any]:
    pod, name = member.pod, member.name
    family = found.families[member.segment]
    where = context.where(("segments", member.segment))
    origins = (Origin("segments", f"{member.segment} in pod {pod.key}", where, f"asked for by {pod.where or pod.key}"),)
    yield Link(
        LinkKey(netns, name),
        type="vxlan",
        mtu=member.mtu,
        up=member.up,
        group=GROUP,
        alias="plumbline:segments",
        mac=derived_mac(f"plumbline.dev/segment/v1 {member.vni} {pod.key} {name}"),  # made anew it is who it was to its neighbours
        parent=member.device,
        info=Vxlan(id=member.vni, dstport=member.port, local=pod.address(6) if family == 6 else ""),
        origin=origins,
    )
    for prefix in member.ip:
        row = address(netns, name, prefix, flags=("nodad",) if ":" in prefix else ())
        yield marked(row)._replace(origin=origins)
    for peer in found.peers(member):
        yield entry(netns, name, FLOOD, peer, origin=origins)
    for to, via in member.routes:
        yield route(netns, to, via=via, dev=name, origin=origins)
