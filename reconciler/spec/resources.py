"""`resources:`, any row of any kind by hand: flat mappings of key fields and attributes into rows."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from reconciler.engine.kind import Kind
from reconciler.engine.model import Unknown
from reconciler.kinds import all_kinds
from reconciler.kinds.spelling import BadValue, spelled
from reconciler.spec.problems import Path, Place, Problem

_PLACES = frozenset({"netns", "root"})  # parts of a key that say where it is; "" is the node's own
SELECTOR = "nodeSelector"  # may stand in every row: the labels of the nodes that it is for


class BadResource(Exception):
    """What is wrong with a row, and in which of its fields ("" for the whole)."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def resource_problems(resources: Mapping[str, Mapping[str, Mapping[str, Any]]], place: Callable[[Path], Place]) -> Iterator[Problem]:
    """What is wrong with the rows, each at its line."""
    for name, stated in resources.items():
        kind = all_kinds().get(name)
        if kind is None:
            guess = difflib.get_close_matches(name, all_kinds(), 1)
            hint = f"did you mean {guess[0]}?" if guess else ""
            yield Problem(
                place(("resources", name)), ("resources", name), "there is no such kind", "" if guess else ", ".join(all_kinds()), hint
            )
            continue
        for handle, said in stated.items():
            path: Path = ("resources", name, handle)
            fields = dict(said)
            selector = fields.pop(SELECTOR, {})
            if not isinstance(selector, dict) or not all(isinstance(value, str) for value in selector.values()):
                at = (*path, SELECTOR)
                yield Problem(place(at), at, "is no selector", "labels and their values as text: {role: edge}")
            try:
                resource_row(kind, fields)
            except BadResource as error:
                at = (*path, error.field) if error.field else path
                yield Problem(place(at), at, str(error))


def resource_row(kind: Kind[Any], said: Mapping[str, Any]) -> Any:
    """The row that a mapping states, normalised by its kind. Raises BadResource."""
    row, key_type = kind.row, typing.get_type_hints(kind.row)["key"]
    names = _names((*_stated(key_type._fields), *attributes(kind)))
    for name in said:
        if name == "netns":
            raise BadResource("rows by hand are of the node's own namespace: in another one nobody would look for them later", name)
        if name not in names:
            guess = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {guess[0]}?" if guess else "allowed: " + ", ".join(sorted({to_camel(one) for one in names.values()}))
            raise BadResource(f"kind {kind.name} has no {name}; {hint}", name)
    stated = {names[name]: value for name, value in said.items()}
    key = _make(key_type, dict.fromkeys(_PLACES & set(key_type._fields), "") | stated, kind.name, only=key_type._fields)
    rest = {name: value for name, value in stated.items() if name not in key_type._fields}
    made = _make(row, {**rest, "key": key}, kind.name, discriminator=str(stated.get("type", "")))
    if stated.get("adopt") is True:
        made = _only_stated(made, rest, kind.attributes)
    try:
        return kind.normal(spelled(made))
    except ValueError as error:
        field = error.field if isinstance(error, BadValue) else ""
        at = next((name for name in said if names[name] == field), to_camel(field))
        raise BadResource(str(error), at) from None


def _stated(key_fields: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a key that a person states: where its owner looks is not for rows by hand to say."""
    return tuple(name for name in key_fields if name not in _PLACES)


def attributes(kind: Kind[Any]) -> tuple[str, ...]:
    """The names that a person may state besides the key: what is compared, and `adopt`."""
    more = tuple(name for name in ("adopt",) if name in kind.row._fields)
    return (*kind.attributes, *(name for name in more if name not in kind.attributes))


def _names(fields: tuple[str, ...]) -> dict[str, str]:
    return {spelling: field for field in fields for spelling in (field, to_camel(field))}


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    """A checker of one field; what only the node knows (Unknown) cannot be written in a file."""
    known = tuple(one for one in _alternatives(hint) if one is not Unknown)
    checked: Any = typing.Union[known]  # noqa: UP007  (of a tuple made at run time)
    return TypeAdapter(checked)


def _make(named_tuple: type[Any], stated: Mapping[str, Any], where: str, *, only: tuple[str, ...] = (), discriminator: str = "") -> Any:
    """A NamedTuple of checked values."""
    hints = typing.get_type_hints(named_tuple)
    values = {}
    for name, value in stated.items():
        if only and name not in only:
            continue
        values[name] = value if name == "key" else _value(hints[name], value, name, discriminator)
    try:
        return named_tuple(**values)
    except TypeError:
        defaults = getattr(named_tuple, "_field_defaults", {})
        missing = [to_camel(name) for name in named_tuple._fields if name not in values and name not in defaults]
        raise BadResource(f"{where} needs {', '.join(missing)}") from None


def _value(hint: Any, value: Any, name: str, discriminator: str) -> Any:
    if isinstance(value, Mapping):
        return _nested(hint, dict(value), name, discriminator)
    if isinstance(value, list):
        inner = next((typing.get_args(part)[0] for part in _alternatives(hint) if typing.get_origin(part) is tuple), Any)
        value = tuple(_value(inner, one, name, discriminator) for one in value)
    try:
        return _adapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        found = "; ".join(dict.fromkeys(one["msg"].removeprefix("Input should be ") for one in error.errors(include_url=False)))
        raise BadResource(f"found {_written(value)}; allowed: {found.replace('valid integer', 'whole number')}", name) from None


def _written(value: Any) -> str:
    """A value as it stands in the file."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.get_args(hint)
    return (hint,)


def _nested(hint: Any, stated: dict[str, Any], name: str, discriminator: str) -> Any:
    """A NamedTuple inside a row; where several are possible, the row's `type` (or its own) names the class."""
    classes = [part for part in _alternatives(hint) if hasattr(part, "_fields")]
    if not classes:
        raise BadResource("found a mapping where a plain value belongs", name)
    if len(classes) > 1:
        wanted = str(stated.pop("type", discriminator)).lower()
        classes = [part for part in classes if wanted in (part.__name__.lower(), *getattr(part, "also_of", tuple)())]
    if not classes:
        raise BadResource(f"which attributes there are follows from the type: {wanted or 'it is missing'}", name)
    spelled = _names(classes[0]._fields)
    unknown = [one for one in stated if one not in spelled]
    if unknown:
        raise BadResource(f"{name} has no {unknown[0]}; allowed: {', '.join(to_camel(field) for field in classes[0]._fields)}", name)
    return _make(classes[0], {spelled[one]: value for one, value in stated.items()}, name)


def _only_stated(made: Any, said: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Of somebody else's object nothing is managed but what is stated: the rest is None, inside its parts too."""
    spelled_as = _names(made._fields)
    stated = {spelled_as[name]: value for name, value in said.items() if name in spelled_as}
    changes: dict[str, Any] = dict.fromkeys(name for name in names if name not in stated)
    for name, value in stated.items():
        if isinstance(value, Mapping):
            part = getattr(made, name)
            changes[name] = _only_stated(part, value, part._fields)
    return made._replace(**changes)


def resource_schema(kind: Kind[Any]) -> dict[str, Any]:
    """JSON schema of one row of a kind, as `resources` takes it."""
    key_type = typing.get_type_hints(kind.row)["key"]
    schema = _object_schema((key_type, _stated(key_type._fields)), (kind.row, attributes(kind)))
    schema["properties"][SELECTOR] = {"type": "object", "additionalProperties": {"type": "string"}}
    schema["description"] = " ".join((kind.row.__doc__ or "").split())
    return schema


def _object_schema(*parts: tuple[type[Any], tuple[str, ...]]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for named_tuple, names in parts:
        hints = typing.get_type_hints(named_tuple)
        for name in names:
            properties[to_camel(name)] = _field_schema(hints[name])
            if name not in getattr(named_tuple, "_field_defaults", {}):
                required.append(to_camel(name))
    return {"type": "object", "properties": properties, "additionalProperties": False, **({"required": required} if required else {})}


def _field_schema(hint: Any) -> dict[str, Any]:
    options: list[dict[str, Any]] = []
    for one in _alternatives(hint):
        if hasattr(one, "_fields"):
            nested = _object_schema((one, one._fields))
            nested["properties"].setdefault("type", {"type": "string"})  # names the class where several are possible
            options.append(nested)
        elif typing.get_origin(one) is tuple:
            options.append({"type": "array", "items": _field_schema(typing.get_args(one)[0])})
        elif one is not Unknown and one is not type(None):
            options.append(_adapter(one).json_schema())
    return options[0] if len(options) == 1 else {"anyOf": options}
