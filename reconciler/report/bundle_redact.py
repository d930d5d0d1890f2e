"""Secrets out of whatever goes into a bundle: by the names that stand before them, by their shapes, and those that we know. Pure.

A bundle is sent to strangers. What is taken for a secret and is none costs a word; one that is overlooked costs a
network. So what people write beside the values (comments) goes altogether, and every WireGuard key is replaced, public
ones too: both look alike. A key becomes another key, the same one everywhere, so that what is left still fits together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml

TAKEN = "REDACTED"
SHORTEST = 8  # characters; a shorter known secret would take half the words with it
_NAMES = (
    r"pass(?:word|wd|phrase|code)|secret|token|psk|pre[-_]?shared[-_]?key|private[-_]?key|api[-_]?key|access[-_]?key|auth[-_]?key|signing[-_]?key|"
    r"encryption[-_]?key|client[-_]key[-_]data|credential|fastopen_key|authorization|(?<!netns_)cookie|hmac|md5"
)
_NAME = re.compile(rf"(?:{_NAMES})", re.IGNORECASE)
_NO_SECRET = re.compile(r"/.*|set|none|true|false|null|~|\(none\)|", re.IGNORECASE)  # a file that holds one, and whether there is one
_VALUE = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'|[^\s,;}\]\"'{\[|>&*!][^\s,;}\]]*"
_NAMED = re.compile(rf"([\"']?[\w.-]*(?:{_NAMES})[\w.-]*[\"']?[ \t]*(?::|=|:=)[ \t]*)({_VALUE})", re.IGNORECASE)
_SPOKEN = re.compile(r"(\b(?:password|passwd|passphrase|psk|private-key|preshared-key)[ \t]+(?:is[ \t]+)?)([^\s,;:=]+)", re.IGNORECASE)
_WIREGUARD = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])")
_LONG = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+/_-]*[A-Z])(?=[A-Za-z0-9+/_-]*[a-z])(?=[A-Za-z0-9+/_-]*[0-9])[A-Za-z0-9+_-][A-Za-z0-9+/_-]{39,}={0,2}"
)
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private key", re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)),
    ("token", re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")),  # RFC 7519
    ("token", re.compile(r"(?i:\b(?:bearer|basic)) +[A-Za-z0-9._~+/=-]{8,}")),  # RFC 6750, 7617
    (
        "token",
        re.compile(
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hvs\.|sk-|dckr_pat_|npm_)[A-Za-z0-9_-]{16,}"
        ),
    ),
    ("token", re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")),  # of kubeadm
    ("password in an address", re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)")),
)


class Redactor:
    """`known`: secrets that are known to be some. `found` counts what was taken out, by sort."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = sorted({one for one in known if len(one) >= SHORTEST}, key=len, reverse=True)
        self.found: Counter[str] = Counter()
        self._made: set[str] = set()  # keys of our own: what is cleared twice stays as it is

    def text(self, text: str) -> str:
        """Any text: a log line, a plan, an error message."""
        text = _NAMED.sub(self._named, self._shaped(text))
        text = _SPOKEN.sub(self._named, text)
        text = _WIREGUARD.sub(self._key, text)
        return _LONG.sub(self._taken("long word of random letters"), text)

    def _shaped(self, text: str) -> str:
        """Without what is a secret whatever stands before it."""
        for secret in self._known:
            if secret in text:
                self.found["known secret"] += text.count(secret)
                text = text.replace(secret, TAKEN)
        for sort, shape in _SHAPES:
            text = shape.sub(self._taken(sort), text)
        return text

    def document(self, value: Any, name: str = "") -> Any:
        """Values as JSON has them; `name`: the key that they stand under."""
        if isinstance(value, Mapping):
            if set(value) == {"base64"} and isinstance(value["base64"], str):
                return {"base64": base64.b64encode(self._bytes(value["base64"], name)).decode()}
            hidden = _about(value)
            return {
                self.text(str(key)): self.document(one, hidden if hidden and key == "value" else _under(name, str(key)))
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.document(one, name) for one in value]
        if _NAME.search(name) and isinstance(value, str | int) and not isinstance(value, bool) and not _NO_SECRET.fullmatch(str(value)):
            self.found["value of a secret's name"] += 1
            return TAKEN
        return self.text(value) if isinstance(value, str) else value

    def yaml(self, text: str) -> str:
        """YAML with every value on its line. What is not valid loses all that may be a comment."""
        try:
            bare = _without_comments(text)
            places = sorted(_scalars(bare), key=lambda one: one[0])
        except (yaml.YAMLError, RecursionError):
            return self.text(re.sub(r"#[^\n]*", "", text))
        parts, at = [], 0
        for start, end, value, name in places:
            said = self.document(value, name)
            if said != value and start >= at:
                parts += [bare[at:start], json.dumps(said), "\n" * bare.count("\n", start, end)]
                at = end
        return self._shaped("".join([*parts, bare[at:]]))

    def _bytes(self, text: str, name: str) -> bytes:
        content = base64.b64decode(text)
        said = content.decode("utf-8", "replace")
        cleared = str(self.document(said, name))
        return content if cleared == said else cleared.encode()

    def _taken(self, sort: str) -> Callable[[re.Match[str]], str]:
        def take(match: re.Match[str]) -> str:
            if match[0] in self._made:
                return match[0]
            self.found[sort] += 1
            return TAKEN

        return take

    def _named(self, match: re.Match[str]) -> str:
        value = match[2]
        quote = value[0] if value[0] in "\"'" else ""
        bare = value.strip("\"'")
        if bare == TAKEN or _NO_SECRET.fullmatch(bare):
            return match[0]
        self.found["value of a secret's name"] += 1
        return f"{match[1]}{quote}{TAKEN}{quote}"

    def _key(self, match: re.Match[str]) -> str:
        """Another of the same shape, which nothing leads back from."""
        if match[0] in self._made:
            return match[0]
        self.found["WireGuard key"] += 1
        made = base64.b64encode(hashlib.sha256(b"plumbline bundle " + match[0].encode()).digest()).decode()
        self._made.add(made)
        return made


def _under(outer: str, key: str) -> str:
    """Below a secret's name everything is secret."""
    return outer if _NAME.search(outer) else key


def _about(value: Mapping[str, Any]) -> str:
    """The name of what a row is about, where that is a secret's: {key: {name: net.ipv6.conf.all.stable_secret}, value: …}."""
    inner = value.get("key")
    name = inner.get("name") if isinstance(inner, Mapping) else value.get("name")
    return name if isinstance(name, str) and _NAME.search(name) else ""


def _without_comments(text: str) -> str:
    """The same text with blanks where its comments were. Raises yaml.YAMLError."""
    parts, at = [], 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start, end = token.start_mark.index, token.end_mark.index
        if start > at:
            parts.append(re.sub(r"#[^\n]*", "", text[at:start]))
            at = start
        if end > at:
            said = text[at:end]
            block = isinstance(token, yaml.ScalarToken) and token.style in ("|", ">")
            parts.append(re.sub(r"\A([|>][-+0-9]*)[ \t]+#[^\n]*", r"\1", said) if block else said)
            at = end
    return "".join([*parts, re.sub(r"#[^\n]*", "", text[at:])])


def _scalars(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Start, end, value and name of every scalar. Raises yaml.YAMLError."""
    seen: set[int] = set()
    left = [(node, "") for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    while left:
        node, name = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield node.start_mark.index, node.end_mark.index, node.value, name
        elif isinstance(node, yaml.SequenceNode):
            left += [(one, name) for one in node.value]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                left += [(key, ""), (value, _under(name, str(key.value) if isinstance(key, yaml.ScalarNode) else ""))]
