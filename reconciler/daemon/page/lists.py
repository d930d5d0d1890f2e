"""Peers, segments and services of a node for /status/…: searched and cut into pages here, so that a browser never holds all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from reconciler.facts.model import Node, Service
from reconciler.facts.order import natural
from reconciler.intents import Context
from reconciler.intents.membership import Member, Members, members
from reconciler.intents.transport import Transport, transport

LIMIT, MOST = 100, 500  # items of a page: where nobody says, and at most
NAMED = 20  # members of one segment on this node, and faults of pods, that are named one by one

T = TypeVar("T")


class BadQuery(Exception):
    """What of a query is wrong, and what is allowed."""


class Query(NamedTuple):
    """Which part of a list is asked for."""

    q: str = ""  # words, all of which an item has to contain
    via: str = ""  # a peer's transport
    offset: int = 0
    limit: int = LIMIT


def parse_query(text: str) -> Query:
    """Of an address behind its "?". Raises BadQuery."""
    try:
        said = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=8))
    except ValueError:
        raise BadQuery("that is no query; allowed: q, via, offset, limit") from None
    for name in said:
        if name not in Query._fields:
            raise BadQuery(f"there is no {name[:40]!r}; allowed: {', '.join(Query._fields)}")
    if said.get("via") not in (None, "", "overlay", "direct", "none"):
        raise BadQuery("via: allowed: overlay, direct, none")
    return Query(
        said.get("q", "").lower(), said.get("via", ""), _number(said, "offset", 0, 0, 1 << 31), _number(said, "limit", LIMIT, 1, MOST)
    )


def _number(said: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = said.get(name, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise BadQuery(f"{name}: allowed: a number from {least} to {most}")
    return int(text)


class Lists:
    """What the content in force says, made when somebody asks for it, and once."""

    def __init__(self, context: Context | None) -> None:
        self._context = context

    def same(self, context: Context | None) -> bool:
        """Whether these are that content's lists, so that nothing has to be made again."""
        mine = self._context
        if mine is None or context is None:
            return mine is context
        facts, others = mine.facts, context.facts
        return (
            mine.spec is context.spec
            and facts.nodes is others.nodes
            and facts.pods is others.pods
            and facts.services is others.services
            and facts.host == others.host
        )

    def peers(self, query: Query, waiting: Mapping[str, int]) -> dict[str, Any]:
        """`waiting`: how many rows of a peer are still to be put in place."""

        def chosen(one: tuple[Node, Transport]) -> bool:
            return query.via in ("", one[1].via)

        fabric = self._context.spec.fabric if self._context else None
        return {
            "node": self._this_node(),
            "mode": fabric.mode if fabric else None,
            "via": {via: self._vias.get(via, 0) for via in ("overlay", "direct", "none")},
            **_part([one for one in self._peers if chosen(one)], query, _peer_words, lambda one: _peer(*one, waiting)),
        }

    def segments(self, query: Query) -> dict[str, Any]:
        """`known`: whether anybody says which pods there are."""
        found, context = self._members, self._context
        names = sorted({*context.spec.segments, *found.segments}, key=natural) if context else []
        faults = [str(fault) for fault in found.faults if context and fault.pod.node == context.node]
        return {
            "known": bool(context and context.facts.pods is not None),
            "faults": _few(faults),
            **_part(names, query, str, self._segment),
        }

    def services(self, query: Query) -> dict[str, Any]:
        """As the cluster has them; `known`: whether anybody says which there are."""
        found = self._context.facts.services if self._context else None
        ordered = sorted(found or (), key=lambda one: natural(one.key))
        return {"known": found is not None, **_part(ordered, query, _service_words, _service)}

    @cached_property
    def _peers(self) -> list[tuple[Node, Transport]]:
        context = self._context
        me = context.facts.nodes.get(context.node) if context else None
        if context is None or me is None:
            return []
        fabric = context.spec.fabric
        others = sorted((node for node in context.facts.nodes.values() if node is not me), key=lambda node: natural(node.name))
        if fabric is None:
            return [(node, Transport("none", "network.yaml has no fabric")) for node in others]
        return [(node, transport(me, node, fabric.mode)) for node in others]

    @cached_property
    def _vias(self) -> Counter[str]:
        return Counter(how.via for _, how in self._peers)

    @cached_property
    def _members(self) -> Members:
        context = self._context
        return members(context.spec, context.facts.pods or ()) if context else Members({}, [], {})

    def _this_node(self) -> dict[str, Any] | None:
        context = self._context
        me = context.facts.nodes.get(context.node) if context else None
        if context is None or me is None:
            return None
        host = context.facts.host
        return {**_node(me), "uplink": me.interface or (host.uplink if host else ""), "mtu": me.mtu or (host.mtu if host else 0)}

    def _segment(self, name: str) -> dict[str, Any]:
        everybody = self._members.segments.get(name, [])
        here = [one for one in everybody if self._context and one.pod.node == self._context.node]
        stated = self._context.spec.segments.get(name) if self._context else None
        return {
            "name": name,
            "vnis": sorted({one.vni for one in everybody} or ({stated.vni} if stated and stated.vni else set())),
            "ports": sorted({one.port for one in everybody}),
            "members": len(everybody),
            "nodes": len({one.pod.node for one in everybody}),
            "here": [_member(one) for one in here[:NAMED]],
            "hereTotal": len(here),
        }


def _part(found: Sequence[T], query: Query, words: Callable[[T], str], body: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    asked = query.q.split()
    matching = [one for one in found if _has(words(one).lower(), asked)] if asked else found
    return {
        "total": len(found),
        "matching": len(matching),
        "offset": query.offset,
        "items": [body(one) for one in matching[query.offset : query.offset + query.limit]],
    }


def _has(text: str, asked: list[str]) -> bool:
    return all(word in text for word in asked)


def _few(lines: list[str]) -> list[str]:
    return [*lines[:NAMED], f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else lines


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "addresses": [f"{one.address}/{one.prefix}" if one.prefix is not None else one.address for one in node.addresses],
        "publicAddresses": [_endpoint(one.address, one.port) for one in node.public_addresses],
        "podCIDRs": list(node.pod_cidrs),
        "site": node.site,
    }


def _endpoint(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _peer(node: Node, how: Transport, waiting: Mapping[str, int]) -> dict[str, Any]:
    return {**_node(node), "via": how.via, "why": how.why, "waiting": waiting.get(node.name, 0)}


def _peer_words(one: tuple[Node, Transport]) -> str:
    node, _ = one
    known = (*(address.address for address in node.addresses), *(end.address for end in node.public_addresses), *node.pod_cidrs)
    return " ".join((node.name, node.site, *known))


def _member(one: Member) -> dict[str, Any]:
    return {"pod": one.pod.key, "device": one.name, "ip": list(one.ip)}


def _service_words(one: Service) -> str:
    return " ".join((one.key, one.type, *one.cluster_ips, *one.external_ips, *one.ingress_ips, *(str(port.port) for port in one.ports)))


def _service(one: Service) -> dict[str, Any]:
    backends = {(backend.address, backend.ready) for part in one.slices for backend in part.backends}
    return {
        "name": one.key,
        "type": one.type,
        "clusterIPs": list(one.cluster_ips),
        "externalIPs": [*one.external_ips, *one.ingress_ips],
        "ports": [{"name": port.name, "protocol": port.protocol, "port": port.port, "nodePort": port.node_port} for port in one.ports],
        "backends": len({address for address, _ in backends}),
        "ready": len({address for address, ready in backends if ready}),
        "proxy": one.proxy,
    }
