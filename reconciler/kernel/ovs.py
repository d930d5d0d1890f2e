"""What a plan may do with `ovs-vsctl`, whatever a template says: its options can reach any host, any command any table (ovs-vsctl(8))."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

_TABLES = frozenset({"bridge", "port", "interface"})
_ON_TABLES = frozenset({"set", "clear", "remove"})
_ON_NAMES = frozenset({"add-br", "del-br", "add-port", "del-port"})


def allowed(words: Sequence[str]) -> bool:
    """Whether a whole command line is among those of a plan: a database of this host, and bridges, ports and interfaces in it."""
    rest = list(words[1:])
    while rest and rest[0].startswith("--") and rest[0] != "--":
        if not rest.pop(0).startswith(("--timeout=", "--db=unix:/")):
            return False
    commands = [list(group) for separator, group in groupby(rest, lambda word: word == "--") if not separator]
    return bool(commands) and all(map(_command, commands))


def _command(words: list[str]) -> bool:
    if any(word.startswith("-") for word in words):
        return False
    if words[0] in _ON_TABLES:
        return len(words) > 3 and words[1] in _TABLES
    return words[0] in _ON_NAMES and len(words) > 1
