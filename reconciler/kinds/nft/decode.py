"""What `nft -s -y list table` prints, as a row. Its JSON leaves out comments of tables, so this reads the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.kinds.nft.elements import canonical
from reconciler.kinds.nft.row import Chain, Nft, NftKey, NftSet, Words, priority

_TOKEN = re.compile(r'"[^"]*"|[^\s"]+')
_QUOTED = re.compile(r'"[^"]*"')
_PLAIN = re.compile(r"[A-Za-z0-9_./:,%@+=][A-Za-z0-9_./:,%@+=-]*")
_HOOK = re.compile(r'type (\S+) hook (\S+)(?: device "?([^"\s]+)"?)? priority (-?\d+);(?: policy (\S+);)?')


def decode(netns: str, family: str, table: str, text: str) -> Nft:
    """One table. What a plan cannot state ends up in `other`, so that it is a difference and not overlooked."""
    lines = logical_lines(text)
    next(lines, "")  # "table F T {"
    chains: list[Chain] = []
    sets: list[NftSet] = []
    other: list[Words] = []
    comment = ""
    for line in lines:
        if line == "}":
            break
        words = words_of(line)
        if line.endswith("{"):
            body = _block(lines)
            if words[0] == "chain" and len(words) == 3:
                chains.append(_chain(words[1], body))
            elif words[0] in ("set", "map") and len(words) == 3:
                sets.append(_set(words[0], words[1], body, other))
            else:
                other.append(words + tuple(body))
        elif words[0] == "comment" and len(words) == 2:
            comment = words[1]
        else:
            other.append(words)
    return Nft(NftKey(netns, family, table), tuple(sorted(chains)), tuple(sorted(sets)), tuple(other), comment)


def logical_lines(text: str) -> Iterator[str]:
    """Lines without their indentation; one that goes on (a long set of elements) is joined."""
    held = ""
    for raw in text.splitlines():
        line = f"{held} {raw.strip()}".strip()
        if not line:
            continue
        bare = _QUOTED.sub("", line)
        if bare.count("{") > bare.count("}") and not (raw.rstrip().endswith("{") and not held and "=" not in bare):
            held = line
            continue
        held = ""
        yield line


def _block(lines: Iterator[str]) -> list[str]:
    body: list[str] = []
    for line in lines:
        if line == "}":
            break
        body.append(line)
    return body


def words_of(line: str) -> Words:
    """Words; quotes are dropped where what they hold is a plain word, as nft takes it without them too."""
    return tuple(word[1:-1] if word.startswith('"') and _PLAIN.fullmatch(word[1:-1]) else word for word in _TOKEN.findall(line))


def _chain(name: str, body: list[str]) -> Chain:
    found = Chain(name)
    rules: list[Words] = []
    for line in body:
        hook = _HOOK.fullmatch(line)
        if hook is None:
            rules.append(canonical(words_of(line)))
            continue
        kind, place, device, number, policy = hook.groups()
        found = Chain(name, kind, place, _priority(int(number), place), policy or "", device or "")
    return found._replace(rules=tuple(rules))


def _priority(number: int, hook: str) -> Words:
    try:
        return priority(number, hook)
    except ValueError:
        return (str(number),)  # nobody can want it, so it is only compared


def _set(what: str, name: str, body: list[str], other: list[Words]) -> NftSet:
    found = NftSet(name, (), what=what)
    for line in body:
        words = words_of(line)
        if words[0] == "type":
            found = found._replace(type=words[1:])
        elif words[0] == "flags":
            found = found._replace(flags=",".join(sorted("".join(words[1:]).split(","))))
        elif words[0] != "elements":
            other.append((what, name, *words))
    return found
