"""Rows from the flat mappings of case files: key fields and attributes side by side, by name."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from reconciler.engine.kind import Kind


def build(kind: Kind[Any], said: Mapping[str, Any]) -> Any:
    """A row of `kind`. Raises KeyError for a name that neither its key nor its attributes have."""
    row = kind.row
    hints = typing.get_type_hints(row)
    key_type = hints["key"]
    said = {name: value for name, value in said.items() if name != "kind"}
    key = {name: said.pop(name) for name in key_type._fields if name in said}
    key = dict.fromkeys({"netns", "root"} & set(key_type._fields), "") | key
    fields = {name: _value(hints[name], value) for name, value in said.items() if name in row._fields}
    unknown = set(said) - set(fields)
    if unknown:
        raise KeyError(f"{kind.name} has no {', '.join(sorted(unknown))}")
    return row(key=key_type(**{name: _value(typing.get_type_hints(key_type)[name], value) for name, value in key.items()}), **fields)


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return _nested(hint, dict(value))
    if isinstance(value, list):
        arguments = [part for part in _alternatives(hint) if typing.get_origin(part) is tuple]
        inner = typing.get_args(arguments[0])[0] if arguments and typing.get_args(arguments[0]) else Any
        return tuple(_value(inner, one) for one in value)
    return value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.get_args(hint)
    return (hint,)


def _nested(hint: Any, value: dict[str, Any]) -> Any:
    """A NamedTuple; where several are possible, `type` names the class."""
    classes = [part for part in _alternatives(hint) if hasattr(part, "_fields")]
    if len(classes) > 1 and "type" in value:
        wanted = value.pop("type")
        classes = [part for part in classes if part.__name__.lower() == str(wanted).replace("_", "").lower()]
    (chosen,) = classes[:1]
    hints = typing.get_type_hints(chosen)
    return chosen(**{name: _value(hints[name], one) for name, one in value.items()})
