"""Rules as `nft -j` prints them (libnftables-json(5)), those of iptables-nft too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.engine.reader import ObservationFailed, Reader
from reconciler.kernel.opponents.packets import Match, Rule
from reconciler.kinds.nft.row import own_table

_QUIET = {"counter", "log", "comment", "quota", "limit_log", "notrack", "mangle", "flow add"}  # decide nothing
_QUIET_XT = {"comment", "LOG", "NFLOG", "TRACE", "MARK", "CONNMARK"}
_VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto")
FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}


class BaseChain(NamedTuple):
    """A chain that sees forwarded packets."""

    family: str  # ip, ip6, inet
    table: str
    name: str
    policy: str
    siblings: tuple[str, ...]  # the names of all chains of its table: they tell whose it is

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def forward_chains(io: Reader) -> list[BaseChain]:
    """Those of others. Raises ObservationFailed."""
    found = [one["chain"] for one in _listed(io, "chains") if "chain" in one]
    return [
        BaseChain(
            one["family"], one["table"], one["name"], one.get("policy", "accept"),
            tuple(other["name"] for other in found if (other["family"], other["table"]) == (one["family"], one["table"])),
        )
        for one in found
        if one.get("hook") == "forward" and one["family"] in FAMILIES and not own_table(one["table"])
    ]  # fmt: skip


class Table:
    """The chains of one table, asked for when a packet comes by."""

    def __init__(self, io: Reader, base: BaseChain) -> None:
        self._io, self._base = io, base
        self._chains: dict[str, list[Rule]] = {}

    def __call__(self, chain: str) -> list[Rule]:
        """Raises ObservationFailed."""
        if chain not in self._chains:
            listed = _listed(self._io, "chain", self._base.family, self._base.table, chain)
            self._chains[chain] = [_rule(one["rule"]["expr"]) for one in listed if "rule" in one]
        return self._chains[chain]


def _listed(io: Reader, *words: str) -> list[Mapping[str, Any]]:
    said = io.tool("", ("nft", "-j", "list", *words))
    try:
        listed: list[Mapping[str, Any]] = json.loads(said)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise ObservationFailed(f"nft -j list {' '.join(words)} printed no JSON: {error}") from error
    return listed


def _rule(statements: list[Mapping[str, Any]]) -> Rule:
    matches: list[Match] = []
    for statement in statements:
        (name, body), *_ = statement.items()
        if name in _VERDICTS:
            target = body["target"] if name in ("jump", "goto") else ""
            return Rule(tuple(matches), name, target)
        if name == "match":
            matches.append(_match(body))
        elif name == "xt" and (body or {}).get("type") == "target" and body["name"] == "REJECT":
            return Rule(tuple(matches), "reject")
        elif name not in _QUIET and not (name == "xt" and (body or {}).get("name") in _QUIET_XT):
            matches.append(Match(name))  # a limit, a set, an extension of iptables: holds for some
    return Rule(tuple(matches), "")


def _match(body: Mapping[str, Any]) -> Match:
    left, negated = body.get("left"), body.get("op") == "!="
    values = tuple(_values(body.get("right")))
    field = ""
    if isinstance(left, dict):
        payload, meta, ct = left.get("payload", {}), left.get("meta", {}), left.get("ct", {})
        if payload.get("protocol") in ("ip", "ip6") and payload.get("field") in ("saddr", "daddr"):
            field = payload["field"]
        elif meta.get("key") in ("iifname", "oifname", "iif", "oif"):
            field = meta["key"] if meta["key"].endswith("name") else f"{meta['key']}name"
        elif meta.get("key") in ("nfproto", "protocol"):
            field, values = "family", tuple({"ipv4": "4", "ipv6": "6", "ip": "4", "ip6": "6"}.get(value, value) for value in values)
        elif ct.get("key") == "state":
            field = "ctstate"
    return Match(field, values, negated)


def _values(right: Any) -> Iterator[str]:
    """Every alternative of the right side; what cannot be read as one comes out as a word that nothing equals."""
    if isinstance(right, dict) and "prefix" in right:
        yield f"{right['prefix']['addr']}/{right['prefix']['len']}"
    elif isinstance(right, dict) and "set" in right:
        for one in right["set"]:
            yield from _values(one)
    elif isinstance(right, list):
        for one in right:
            yield from _values(one)
    else:
        yield str(right)
