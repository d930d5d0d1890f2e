"""Rules of the old iptables (ip_tables, not nf_tables), as `iptables-legacy -S` prints them (iptables(8))."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.engine.reader import ObservationFailed, Reader, ToolMissing
from reconciler.kernel.opponents.packets import Match, Rule

TABLES = {4: ("ip_tables_names", "iptables"), 6: ("ip6_tables_names", "ip6tables")}
_FIELDS = {"-s": "saddr", "-d": "daddr", "-i": "iifname", "-o": "oifname", "--ctstate": "ctstate", "--state": "ctstate"}
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_QUIET = ("LOG", "NFLOG", "TRACE", "MARK", "CONNMARK")
_LOADED = ("comment", "conntrack", "state")  # matches whose words are understood here
_DESCRIBING = {"--comment", "--reject-with"}  # with one word each


class Filter(NamedTuple):
    """Table filter of one family."""

    policy: str
    chains: Mapping[str, Sequence[Rule]]


def legacy_filter(io: Reader, family: int) -> Filter | None:
    """None where the kernel has no such table. Raises ObservationFailed."""
    names, tool = TABLES[family]
    loaded = io.read("", f"/proc/thread-self/net/{names}")  # asking the tool would load the module
    if loaded is None or b"filter" not in loaded.split():
        return None
    try:
        said = io.tool("", (f"{tool}-legacy", "-S"))
    except ToolMissing:
        said = io.tool("", (tool, "-S"))
        if not _is_legacy(io, tool):
            raise ObservationFailed(f"the kernel has a filter table of the old {tool}, and {tool}-legacy is not installed") from None
    return parse(said)


def _is_legacy(io: Reader, tool: str) -> bool:
    """iptables 1.8 and newer say which they are; older ones know only the old tables."""
    return "nf_tables" not in io.tool("", (tool, "--version"))


def parse(said: str) -> Filter:
    """Raises ObservationFailed."""
    policy, chains = "accept", dict[str, list[Rule]]()
    for line in said.splitlines():
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise ObservationFailed(f"iptables printed {line!r}: {error}") from error
        if words[:2] == ["-P", "FORWARD"]:
            policy = words[2].lower()
        if words[:1] in (["-P"], ["-N"]):
            chains.setdefault(words[1], [])
        elif words[:1] == ["-A"]:
            chains.setdefault(words[1], []).append(_rule(words[2:]))
    return Filter(policy, chains)


def _rule(words: Sequence[str]) -> Rule:
    matches: list[Match] = []
    verdict = target = ""
    negated = False
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in _FIELDS:
            values = next(rest).split(",")
            matches.append(Match(_FIELDS[word], tuple(value.replace("+", "*") for value in values), negated))
        elif word in ("-j", "-g"):
            name = next(rest)
            verdict = _VERDICTS.get(name, "" if name in _QUIET else "goto" if word == "-g" else "jump")
            target = name if verdict in ("jump", "goto") else ""
        elif word in _DESCRIBING:
            next(rest)
        elif word == "-m":
            if (module := next(rest)) not in _LOADED:
                matches.append(Match(module))
        elif word.startswith("-"):
            matches.append(Match(word))
        negated = False
    return Rule(tuple(matches), verdict, target)
