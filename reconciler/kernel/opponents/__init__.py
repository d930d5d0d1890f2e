"""Others on this host who would undo or block what plumbline does. They are named, not fought.

A question that has no answer is told as such (`level` "unknown"): it is never "none".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from ipaddress import ip_network
from typing import Any, NamedTuple

from reconciler.engine.model import Seen, Wanted
from reconciler.engine.reader import ObservationFailed, Reader
from reconciler.intents import Context
from reconciler.kernel.opponents.cni import cni_files
from reconciler.kernel.opponents.devices import vxlan_devices
from reconciler.kernel.opponents.forwarding import between, forward_drops
from reconciler.kernel.opponents.model import Level, Opponent, Sort, unanswered
from reconciler.kernel.opponents.network_manager import network_manager
from reconciler.kernel.opponents.networkd import networkd
from reconciler.kernel.opponents.packets import Packet
from reconciler.kernel.opponents.ports import udp_port
from reconciler.kernel.opponents.routes import foreign_routes
from reconciler.kinds.link import Link, Vxlan

__all__ = ["Level", "Opponent", "Sort", "opponents"]


def opponents(context: Context, wanted: Wanted, seen: Seen, io: Reader, root: str = "") -> tuple[Opponent, ...]:
    """All that can be told of a node, from its files, its processes and its kernel.

    wanted: what the node should hold; seen: links and routes as they were last observed.
    root: the folder that stands for / in files (a lab's node). Never raises for what the host does or lacks.
    """
    found: dict[Opponent, None] = {}
    for one in _questions(context, wanted, seen, io, root):
        found.update((answer._replace(sort=one.sort), None) for answer in _answers(one))
    return tuple(found)


class _Question(NamedTuple):
    sort: Sort
    words: str  # as it is told where it has no answer
    ask: Callable[[], Iterable[Opponent]]


def _answers(question: _Question) -> Iterator[Opponent]:
    try:
        yield from question.ask()
    except ObservationFailed as failure:
        yield unanswered(question.words, failure)
    except OSError as error:
        yield unanswered(question.words, f"{error.filename}: {error.strerror}")


def _questions(context: Context, wanted: Wanted, seen: Seen, io: Reader, root: str) -> Iterator[_Question]:
    cni = context.spec.cni
    links: list[Link] = [link for link in wanted.rows("link") if not link.key.netns and not link.adopt and link.type != "physical"]
    made = [(link.key.name, link.type or "") for link in links]
    if cni is not None:
        made.append((cni.bridge, "bridge"))
        yield _Question("cni-file", f"which CNI file of {cni.conf_dir} is read first", lambda: cni_files(root, cni))
    if made or any(wanted.of(kind) for kind in ("route", "rule", "nexthop")):
        yield _Question("systemd-networkd", "what systemd-networkd does with foreign routes and links", lambda: networkd(root, made))
        yield _Question("NetworkManager", "what NetworkManager does with foreign links", lambda: network_manager(root, made))
    yield _Question(
        "vxlan-device", "whether another VXLAN device is in the way", lambda: vxlan_devices(links, _rows(seen, "link"))
    )  # fmt: skip
    for port in sorted({link.info.dstport for link in links if isinstance(link.info, Vxlan)}):
        yield _Question("udp-port", f"whether UDP port {port} is free", partial(_port, io, root, port, seen))
    yield _Question(
        "route", "whether routes of others take over ours", lambda: foreign_routes(wanted.rows("route"), _rows(seen, "route"))
    )  # fmt: skip
    accepted = {row.key[1:4] for row in wanted.rows("nft_rule") if not row.key.netns}
    packets = between(_packets(context))
    if packets:
        yield _Question(
            "forward-drop", "whether a firewall drops what is forwarded",
            lambda: forward_drops(io, packets, lambda *chain: chain in accepted),
        )  # fmt: skip


def _port(io: Reader, root: str, port: int, seen: Seen) -> Iterator[Opponent]:
    return udp_port(io, root, port, _rows(seen, "link"))


def _rows(seen: Seen, kind: str) -> Iterable[Any]:
    """Raises ObservationFailed where they could not be seen."""
    if seen.failure(kind):
        raise ObservationFailed(seen.failure(kind))
    return seen.rows(kind)


def _packets(context: Context) -> Iterator[Packet]:
    """One from a pod here to a pod elsewhere, for each family that pods have."""
    fabric, me = context.spec.fabric, context.facts.nodes.get(context.node)
    if fabric is None or fabric.mode == "none" or me is None:
        return
    bridge = context.spec.cni.bridge if context.spec.cni else ""
    outside = fabric.overlay.device if fabric.mode != "direct" else context.facts.host.uplink if context.facts.host else ""
    for family in (4, 6):
        mine = me.pod_cidr(family)
        others = [text for text in fabric.pod_network if (":" in text) is (family == 6)]
        others = others or [cidr for node in context.facts.nodes.values() if node.name != me.name and (cidr := node.pod_cidr(family))][:1]
        if mine and others:
            yield from (Packet(ip_network(mine), ip_network(other), bridge, outside) for other in others)
