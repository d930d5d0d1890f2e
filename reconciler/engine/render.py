"""Actions become the very lines that run.

Templates see `old` and `new`, may read fields of rows only, and every value
passes `word`: bytes are told in hexadecimal digits. After rendering each line has to begin as its kind's grammar says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain, groupby, repeat
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import WAITS, Action, Line, Unknown, Verb

_KEPT = 1 << 18  # words; a plan for thirty thousand peers has fewer
_SEPARATOR = "\x01"  # trim_blocks eats newlines, and lstrip_blocks whatever str.isspace() (\x1e too)
_WORD = re.compile(r"[A-Za-z0-9_./:,%@+=][A-Za-z0-9_./:,%@+=-]*")
_OPERATORS = frozenset({"!=", "{", "}"})  # nft's, harmless to a shell as words of their own; inside tuples only
_SORT = attrgetter("change.kind", "verb", "held")
_TEMPLATE = {Verb.CREATE: "create.j2", Verb.UPDATE: "update.j2", Verb.DELETE: "delete.j2"}


class BadWord(Exception):
    """A value that is not one plain word, or a line that its tool's grammar does not allow."""


class _FieldsOnly(CodeGenerator):
    """Compiles attribute look-up to plain Python: which names may stand there is settled when a template is compiled.

    The stock sandbox asks at every look-up, which took three times as long as all the rest. Every value goes
    through `finalize`, which gives a str, once; it is looked up once for all of them.
    """

    def write_commons(self) -> None:
        super().write_commons()
        self.writeline("word = environment.finalize")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write("escape(word(" if frame.eval_ctx.autoescape else "word(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write("))" if frame.eval_ctx.autoescape else ")")

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


class _Words(dict[Any, str]):
    """Only plain words reach a line: no blank, quote, control or shell character, no leading '-'. Asked for every value.

    Strings that passed are kept, as ten thousand lines repeat most of them: what was asked before takes no call.
    """

    def __init__(self, unknown_allowed: bool) -> None:
        self._unknown_allowed = unknown_allowed

    def __missing__(self, value: Any) -> str:
        if value.__class__ is str and _WORD.fullmatch(value):
            if len(self) >= _KEPT:
                self.clear()
            self[value] = value
            return str(value)
        if value.__class__ is bytes:
            return str(value.hex(" "))
        if (value.__class__ is int and value >= 0) or (isinstance(value, str) and _WORD.fullmatch(value)):
            return str(value)
        if isinstance(value, Unknown):
            if self._unknown_allowed:
                return value
            raise BadWord(f"{value} is known only on the node")
        if isinstance(value, tuple) and value and all(_is_part(part) for part in value):
            return " ".join(value)
        if isinstance(value, Markup) or value == "":  # what a macro made inside {% autoescape true %}: its parts were checked
            return str(value) if value == "" else value
        raise BadWord(f"{value!r} is not a plain word")


def _is_part(part: Any) -> bool:
    return isinstance(part, str) and (part in _OPERATORS or _WORD.fullmatch(part) is not None)


class Renderer:
    """Compiles each kind's templates once. `unknown_allowed` is for offline plans, which nobody runs."""

    def __init__(self, kinds: Kinds, *, unknown_allowed: bool = False) -> None:
        self._kinds = kinds
        self._compiled: dict[tuple[str, Verb], jinja2.Template] = {}
        self._word = _Words(unknown_allowed).__getitem__

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
        done = list(actions)
        for (name, verb), indexes in _alike(actions).items():
            kind = self._kinds[name]
            for index, action in zip(indexes, self._bulk(kind, verb, [actions[index] for index in indexes]), strict=True):
                done[index] = action
        return done

    def _bulk(self, kind: Kind[Any], verb: Verb, actions: list[Action]) -> Iterable[Action]:
        try:
            for netns in {""} if _is_placeless(kind, actions) else {kind.netns(action.change.row) for action in actions}:
                self._word(netns)
            return _with_lines(kind, verb, actions, self._text(kind, verb, actions))
        except (BadWord, SecurityError, AttributeError, TypeError, jinja2.UndefinedError) as error:
            if len(actions) == 1:
                return [actions[0]._replace(held=f"cannot be put into words: {error}")]
            return [one for action in actions for one in self._bulk(kind, verb, [action])]

    def _text(self, kind: Kind[Any], verb: Verb, actions: list[Action]) -> list[list[str]]:
        return _records(self._template(kind, verb).render(changes=_pairs(kind, verb, actions)))


def _alike(actions: Sequence[Action]) -> dict[tuple[str, Verb], list[int]]:
    """Where the actions of one kind and verb stand, of those that are to be put into words."""
    found: dict[tuple[str, Verb], list[int]] = {}
    start = 0
    for (name, verb, held), run in groupby(actions, key=_SORT):
        end = start + len(list(run))
        if held in ("", WAITS):
            found.setdefault((name, verb), []).extend(range(start, end))
        start = end
    return found


def _pairs(kind: Kind[Any], verb: Verb, actions: list[Action]) -> list[tuple[Any, Any]]:
    """What a template sees of each action: `old` and `new`."""
    if verb is Verb.DELETE:
        return [(action.change.old, None) for action in actions]
    if verb is Verb.CREATE:
        plain = type(kind).fresh is Kind.fresh
        return [(None if plain else kind.fresh(action.change.new), action.change.new) for action in actions]
    return [(kind.met(action.change.old, action.change.new), action.change.new) for action in actions]


def _with_lines(kind: Kind[Any], verb: Verb, actions: list[Action], records: list[list[str]]) -> list[Action]:
    lines_of_all = list(chain.from_iterable(records))
    if not all(map(str.startswith, lines_of_all, repeat(kind.prefixes))):
        strange = next(words for words in lines_of_all if not words.startswith(kind.prefixes))
        raise BadWord(f"the line {strange!r} is not among those of kind {kind.name}")
    if not all(records):
        raise BadWord(f"the template of {kind.name} gave no line")
    verbs, changes, refs, needs, _, files, notes, held = zip(*actions, strict=True)
    rows = [change.old if verb is Verb.DELETE else change.new for change in changes]
    if _is_placeless(kind, actions):
        lines: Iterable[tuple[Line, ...]] = [tuple([Line("", words) for words in record]) for record in records]
    else:
        lines = [tuple([Line(netns, words) for words in record]) for netns, record in zip(map(kind.netns, rows), records, strict=True)]
    if verb is not Verb.DELETE and type(kind).staged is not Kind.staged:
        files = tuple(map(kind.staged, rows))
    return Action.each(verbs, changes, refs, needs, lines, files, notes, held)


def _is_placeless(kind: Kind[Any], actions: Sequence[Action]) -> bool:
    """Whether rows of this kind lie in no network namespace: no need to ask each of a hundred thousand."""
    return type(kind).netns is Kind.netns and not hasattr(actions[0].change.row.key, "netns")


def _records(text: str) -> list[list[str]]:
    """The lines of each record, with single blanks between words."""
    text = text.replace("\n" + _SEPARATOR, _SEPARATOR)
    records = text.split(_SEPARATOR)[:-1]
    if not any(odd in text for odd in ("\n", "  ", " " + _SEPARATOR, _SEPARATOR + " ")):
        return [[record] if record else [] for record in records]
    return [[words for raw in record.split("\n") if (words := " ".join(raw.split()))] for record in records]
