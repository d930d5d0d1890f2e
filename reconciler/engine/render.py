"""Actions become the very lines that run.

Templates see `old` and `new`, may read fields of rows only, and every value
passes `word`: bytes are told in hexadecimal digits. After rendering each line has to begin as its kind's grammar says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, get_args, get_type_hints

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import WAITS, Action, Line, Unknown, Verb

_SEPARATOR = "\x01"  # trim_blocks eats newlines, and lstrip_blocks whatever str.isspace() (\x1e too)
_WORD = re.compile(r"[A-Za-z0-9_./:,%@+=][A-Za-z0-9_./:,%@+=-]*")
_OPERATORS = frozenset({"!=", "{", "}"})  # nft's, harmless to a shell as words of their own; inside tuples only
_TEMPLATE = {Verb.CREATE: "create.j2", Verb.UPDATE: "update.j2", Verb.DELETE: "delete.j2"}


class BadWord(Exception):
    """A value that is not one plain word, or a line that its tool's grammar does not allow."""


class _FieldsOnly(CodeGenerator):
    """Compiles attribute look-up to plain Python: which names may stand there is settled when a template is compiled.

    The stock sandbox asks at every look-up, which took three times as long as all the rest.
    """

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        allowed: frozenset[str] = self.environment.field_names  # type: ignore[attr-defined]
        if node.attr not in allowed:
            raise SecurityError(f"templates may read fields of rows only, not {node.attr!r}")
        self.visit(node.node, frame)
        self.write(f".{node.attr}")


class _Environment(SandboxedEnvironment):
    """A sandbox in which rows' fields, and the macro `options` of a kind's own files, are all that can be named."""

    code_generator_class = _FieldsOnly

    def __init__(self, field_names: frozenset[str], **options: Any) -> None:
        super().__init__(**options)
        self.field_names = field_names | {"options"}

    def getitem(self, obj: Any, argument: Any) -> Any:
        raise SecurityError("templates do not look things up")


def _field_names(named_tuple: Any) -> set[str]:
    """The names of all fields of a row type and of the NamedTuples inside it, and of what these tell of themselves (properties)."""
    names: set[str] = set()
    waiting, seen = [named_tuple], set()
    while waiting:
        hint = waiting.pop()
        waiting += get_args(hint)
        if hasattr(hint, "_fields") and hint not in seen:
            seen.add(hint)
            names.update(hint._fields)
            names.update(name for name, what in vars(hint).items() if isinstance(what, property))
            waiting += get_type_hints(hint).values()
    return names


def _word_check(unknown_allowed: bool) -> Callable[[Any], Any]:
    """Only plain words reach a line: no blank, quote, control or shell character, no leading '-'. Asked for every value."""
    plain: set[str] = set()
    remember, is_word = plain.add, _WORD.fullmatch

    def word(value: Any) -> Any:
        if value.__class__ is str:
            if value in plain:
                return value
            if is_word(value):
                remember(value)
                return value
        elif value.__class__ is bytes:
            return value.hex(" ")
        elif (value.__class__ is int and value >= 0) or (isinstance(value, str) and is_word(value)):
            return value
        if isinstance(value, Unknown):
            if unknown_allowed:
                return value
            raise BadWord(f"{value} is known only on the node")
        if isinstance(value, tuple) and value and all(_is_part(part) for part in value):
            return " ".join(value)
        if isinstance(value, Markup) or value == "":  # what a macro made inside {% autoescape true %}: its parts were checked
            return value
        raise BadWord(f"{value!r} is not a plain word")

    return word


def _is_part(part: Any) -> bool:
    return isinstance(part, str) and (part in _OPERATORS or _WORD.fullmatch(part) is not None)


class Renderer:
    """Compiles each kind's templates once. `unknown_allowed` is for offline plans, which nobody runs."""

    def __init__(self, kinds: Kinds, *, unknown_allowed: bool = False) -> None:
        self._kinds = kinds
        self._compiled: dict[tuple[str, Verb], jinja2.Template] = {}
        self._word = _word_check(unknown_allowed)

    @cached_property
    def _environment(self) -> _Environment:
        loader = jinja2.PrefixLoader({name: jinja2.FileSystemLoader(kind.folder) for name, kind in self._kinds.items()})
        names = frozenset(name for kind in self._kinds.values() for name in _field_names(kind.row))
        return _Environment(
            names,
            loader=loader,
            undefined=jinja2.StrictUndefined,
            finalize=self._word,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
        )

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
            if action.held in ("", WAITS):
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
            for netns in {""} if _is_placeless(kind, actions) else {kind.netns(action.change.row) for action in actions}:
                self._word(netns)
            return _with_lines(kind, verb, actions, self._text(kind, verb, actions))
        except (BadWord, SecurityError, AttributeError, jinja2.UndefinedError) as error:
            if len(actions) == 1:
                return [actions[0]._replace(held=f"cannot be put into words: {error}")]
            return [one for action in actions for one in self._bulk(kind, verb, [action])]

    def _text(self, kind: Kind[Any], verb: Verb, actions: list[Action]) -> list[list[str]]:
        pairs = []
        for action in actions:
            old, new = action.change.old, action.change.new
            if verb is Verb.CREATE:
                old = kind.fresh(new)
            elif verb is Verb.DELETE:
                new = None
            else:
                old = kind.met(old, new)
            pairs.append((old, new))
        return _records(self._template(kind, verb).render(changes=pairs))


def _with_lines(kind: Kind[Any], verb: Verb, actions: list[Action], records: list[list[str]]) -> list[Action]:
    lines_of_all = [words for record in records for words in record]
    if not all(map(str.startswith, lines_of_all, repeat(kind.prefixes))):
        strange = next(words for words in lines_of_all if not words.startswith(kind.prefixes))
        raise BadWord(f"the line {strange!r} is not among those of kind {kind.name}")
    if not all(records):
        raise BadWord(f"the template of {kind.name} gave no line")
    netns_of = _here if _is_placeless(kind, actions) else kind.netns
    staged = kind.staged if verb is not Verb.DELETE and type(kind).staged is not Kind.staged else None
    done: list[Action] = []
    for (_, change, ref, needs, _, _, note, held), record in zip(actions, records, strict=True):
        row = change[1] if verb is Verb.DELETE else change[2]
        netns = netns_of(row)
        lines = tuple([Line(netns, words) for words in record])
        done.append(Action(verb, change, ref, needs, lines, staged(row) if staged else (), note, held))
    return done


def _is_placeless(kind: Kind[Any], actions: Sequence[Action]) -> bool:
    """Whether rows of this kind lie in no network namespace: no need to ask each of a hundred thousand."""
    return type(kind).netns is Kind.netns and not hasattr(actions[0].change.row.key, "netns")


def _here(row: Any) -> str:
    return ""


def _records(text: str) -> list[list[str]]:
    """The lines of each record, with single blanks between words."""
    text = text.replace("\n" + _SEPARATOR, _SEPARATOR)
    records = text.split(_SEPARATOR)[:-1]
    if not any(odd in text for odd in ("\n", "  ", " " + _SEPARATOR, _SEPARATOR + " ")):
        return [[record] if record else [] for record in records]
    return [[words for raw in record.split("\n") if (words := " ".join(raw.split()))] for record in records]
