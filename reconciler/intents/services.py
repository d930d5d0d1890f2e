"""Intent `services`: Kubernetes services in eBPF, at sockets for whoever is on this node, at devices for whoever comes from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from reconciler.engine.model import Origin
from reconciler.facts.model import Host, Service
from reconciler.intents import Context, Memo, Remark
from reconciler.intents.selector import selected
from reconciler.intents.service_entries import Here, entries, left_out
from reconciler.intents.service_programs import machinery, pins
from reconciler.kinds.bpf_map_entry import BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.layout import BACKENDS, FRONTS, OBJECTS, RANGES
from reconciler.kinds.bpf_map_entry.services import ServiceTable
from reconciler.spec.services import NodePorts, Services

NAME = "services"
ZONE = "topology.kubernetes.io/zone"


def rows(context: Context) -> Iterable[Any]:
    """Maps, programs and attachments; and one row that stands for the entries of all services."""
    services = context.spec.services
    if services is None or not selected(context, services.node_selector):
        return
    where = context.where((NAME,))
    yield from _missing(context, where)
    yield from _wanting(context.facts.host, services, where)
    yield from machinery(context, services, Origin(NAME, "data path", where))
    known = context.facts.services
    if known is None:
        text = "which services there are is not known, so what is served stays as it is: give Services and EndpointSlices with --facts"
        yield Remark(text, where)
    here = _here(context, services)
    if not here.addresses and here.outside:
        yield Remark(f"{context.node} has no address that node ports could be reached at", where)
    memo = context.memo or Memo()
    path = pins(context, services)
    table = memo.table(NAME, here, known or (), _name, entries)
    key, origin = BpfMapEntryKey(path.map(FRONTS), b""), (Origin(NAME, "entries", where),)
    yield ServiceTable(key, path.map(BACKENDS), path.map(RANGES), table, known is not None, origin=origin)
    for remarks in memo.table(f"{NAME}: left out", None, known or (), _name, _remarks).values():
        yield from remarks


def _name(service: Service) -> str:
    return service.key


def _remarks(_: None, service: Service) -> tuple[Remark, ...]:
    return tuple(Remark(text, service.where or service.key) for _, text in left_out((service,)))


def _missing(context: Context, where: str) -> Iterator[Remark]:
    """A plumbline that was built without clang does everything else; what is attached already goes on as it is."""
    host = context.facts.host
    lacking = [f"{name}.o" for name in OBJECTS if host is not None and name not in host.objects]
    if lacking:
        text = f"this plumbline came without its eBPF objects ({', '.join(lacking)}), so services stay as they are here"
        yield Remark(f"{text}; install a release of it, or build them: make bpf (needs clang and libbpf-dev)", where, error=True)


def _wanting(host: Host | None, services: Services, where: str) -> Iterator[Remark]:
    """What this host lacks, and what will not work for that."""
    if host is None:
        return
    if not host.tells_sources:
        text = "this kernel tells eBPF programs no source address (Linux 6.7 or later does, or one with BPF_FIB_LOOKUP_SRC of it)"
        effect = "what comes from outside to an endpoint on another node is dropped and counted (no_source); all else works"
        remedy = "boot a newer kernel, or say externalTrafficPolicy: Local for what is reached from outside"
        yield Remark(f"{text}: {effect}; {remedy}", where)
    if host.passing_bpffs:
        text = f"the BPF file system at {services.bpffs} is this container's own: every service ends with it"
        yield Remark(f"{text}; mount the host's into it (hostPath {services.bpffs}, mountPropagation: HostToContainer)", where, error=True)


def _here(context: Context, services: Services) -> Here:
    said, me, host = services.node_port, context.facts.nodes.get(context.node), context.facts.host
    zone = me.labels.get(ZONE, "") if me else ""
    if not isinstance(said, NodePorts):
        return Here(context.node, zone, outside=False)
    addresses = tuple(one.address for one in me.addresses) if me else ()
    if said.addresses is not None:
        networks = [ip_network(one) for one in said.addresses]
        known = dict.fromkeys((*addresses, *(host.addresses if host else ())))
        addresses = tuple(one for one in known if any(ip_address(one) in network for network in networks))
    cookie = host.netns_cookie if host and said.loopback else 0
    return Here(context.node, zone, addresses, netns_cookie=cookie)
