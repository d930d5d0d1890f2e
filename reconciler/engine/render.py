"""Actions become the very lines that run.

Templates see `old` and `new`, may read fields of rows only, and every value
passes `word`. After rendering each line has to begin as its kind's grammar says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import jinja2
from jinja2.sandbox import SandboxedEnvironment, SecurityError

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Action, Line, Unknown, Verb

_SEPARATOR = "\x01"  # trim_blocks eats newlines, and lstrip_blocks whatever str.isspace() (\x1e too)
_WORD = re.compile(r"[A-Za-z0-9_./:,%@+=][A-Za-z0-9_./:,%@+=-]*")
_OPERATORS = frozenset({"!=", "{", "}"})  # nft's, harmless to a shell as words of their own; inside tuples only
_TEMPLATE = {Verb.CREATE: "create.j2", Verb.UPDATE: "update.j2", Verb.DELETE: "delete.j2"}


class BadWord(Exception):
    """A value that is not one plain word, or a line that its tool's grammar does not allow."""


class _Environment(SandboxedEnvironment):
    """A sandbox whose attribute look-up allows fields of rows only: narrower than the stock one, and faster."""

    _fields: ClassVar[dict[type[Any], frozenset[str]]] = {}

    def getattr(self, obj: Any, attribute: str) -> Any:
        allowed = self._fields.get(type(obj))
        if allowed is None:
            allowed = self._fields[type(obj)] = frozenset(getattr(type(obj), "_fields", ()))
        if attribute in allowed:
            return getattr(obj, attribute)
        if isinstance(obj, jinja2.runtime.TemplateReference | jinja2.environment.TemplateModule):
            return super().getattr(obj, attribute)
        raise SecurityError(f"templates may read fields of rows only, not {attribute!r} of {type(obj).__name__}")

    def getitem(self, obj: Any, argument: Any) -> Any:
        raise SecurityError("templates do not look things up")


class Renderer:
    """Compiles each kind's templates once. `unknown_allowed` is for offline plans, which nobody runs."""

    def __init__(self, kinds: Kinds, *, unknown_allowed: bool = False) -> None:
        self._kinds = kinds
        self._unknown_allowed = unknown_allowed
        self._plain: set[Any] = set()
        self._compiled: dict[tuple[str, Verb], jinja2.Template] = {}

    @cached_property
    def _environment(self) -> _Environment:
        loader = jinja2.PrefixLoader({name: jinja2.FileSystemLoader(kind.folder) for name, kind in self._kinds.items()})
        return _Environment(
            loader=loader, undefined=jinja2.StrictUndefined, finalize=self._word, trim_blocks=True, lstrip_blocks=True, autoescape=True
        )

    def _word(self, value: Any) -> Any:
        """Only plain words reach a line: no blank, quote, control or shell character, no leading '-'."""
        if value in self._plain and type(value) is not bool:
            return value
        if type(value) is int and value >= 0:
            return value
        if isinstance(value, Unknown):
            if self._unknown_allowed:
                return value
            raise BadWord(f"{value} is known only on the node")
        if isinstance(value, str) and _WORD.fullmatch(value):
            self._plain.add(value)
            return value
        if isinstance(value, tuple) and value and all(self._part(part) for part in value):
            return " ".join(value)
        if isinstance(value, jinja2.runtime.Markup) or value == "":  # what a macro made: its parts were checked (autoescape marks it)
            return value
        raise BadWord(f"{value!r} is not a plain word")

    @staticmethod
    def _part(part: Any) -> bool:
        return isinstance(part, str) and (part in _OPERATORS or _WORD.fullmatch(part) is not None)

    def _template(self, kind: Kind[Any], verb: Verb) -> jinja2.Template:
        """The kind's template, wrapped so that one render makes the lines of many changes."""
        compiled = self._compiled.get((kind.name, verb))
        if compiled is None:
            source, _, _ = self._environment.loader.get_source(self._environment, f"{kind.name}/{_TEMPLATE[verb]}")  # type: ignore[union-attr]
            wrapped = "{% for old, new in changes %}" + source + _SEPARATOR + "{% endfor %}"
            compiled = self._compiled[kind.name, verb] = self._environment.from_string(wrapped)
        return compiled

    def render(self, actions: Sequence[Action]) -> list[Action]:
        """The actions with their lines. One that cannot be put into words is held, and says why."""
        runs: dict[tuple[str, Verb], list[int]] = {}
        for index, action in enumerate(actions):
            if not action.held:
                runs.setdefault((action.change.kind, action.verb), []).append(index)
        done = list(actions)
        for (name, verb), indexes in runs.items():
            kind = self._kinds[name]
            chosen = [actions[index] for index in indexes]
            for index, action in zip(indexes, self._bulk(kind, verb, chosen), strict=True):
                done[index] = action
        return done

    def _bulk(self, kind: Kind[Any], verb: Verb, actions: list[Action]) -> Iterable[Action]:
        try:
            return [_with_lines(kind, action, text) for action, text in zip(actions, self._text(kind, verb, actions), strict=True)]
        except (BadWord, SecurityError, jinja2.UndefinedError) as error:
            if len(actions) == 1:
                return [actions[0]._replace(held=f"cannot be put into words: {error}")]
            return [one for action in actions for one in self._bulk(kind, verb, [action])]

    def _text(self, kind: Kind[Any], verb: Verb, actions: list[Action]) -> list[str]:
        pairs = []
        for action in actions:
            old, new = action.change.old, action.change.new
            if verb is Verb.CREATE:
                old = kind.fresh(new)
            elif verb is Verb.DELETE:
                new = None
            pairs.append((old, new))
        text = self._template(kind, verb).render(changes=pairs)
        return text.split(_SEPARATOR)[:-1]


def _with_lines(kind: Kind[Any], action: Action, text: str) -> Action:
    verb, change, ref, needs, _, _, note, held = action
    row = change.old if verb is Verb.DELETE else change.new
    netns = kind.netns(row)
    lines = []
    for raw in text.split("\n"):
        words = raw.strip() if "  " not in raw else " ".join(raw.split())
        if not words:
            continue
        if not words.startswith(kind.prefixes):
            raise BadWord(f"the line {words!r} is not among those of kind {kind.name}")
        lines.append(Line(netns, words))
    if not lines:
        raise BadWord(f"the template of {kind.name} gave no line")
    files = () if verb is Verb.DELETE else kind.staged(row)
    return Action(verb, change, ref, needs, tuple(lines), files, note, held)
