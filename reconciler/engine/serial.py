"""Rows and facts as JSON and back, for snapshots: by the fields of their NamedTuples. Pure."""

from __future__ import annotations

import base64
import types
import typing
from collections import abc
from collections.abc import Mapping
from typing import Any

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Observed, Seen

VERSION = 1


class BadSnapshot(Exception):
    """A snapshot that cannot be read; says what in it."""


def seen_document(seen: Seen, kinds: Kinds) -> dict[str, Any]:
    """What was observed, as JSON values."""
    found = {name: {"rows": [_plain(row) for row in seen.rows(name)], "failure": seen.failure(name)} for name in kinds}
    return {"version": VERSION, "kinds": found}


def seen_from(document: Mapping[str, Any], kinds: Kinds) -> Seen:
    """The same back. Raises BadSnapshot."""
    if not isinstance(document, Mapping) or document.get("version") != VERSION or not isinstance(document.get("kinds"), Mapping):
        raise BadSnapshot(f"not a snapshot of version {VERSION}; make one with `plumbline snapshot`")
    observed = {}
    for name, found in document["kinds"].items():
        if name not in kinds:
            raise BadSnapshot(f"kind {name} is unknown to this plumbline; the snapshot is of a newer one")
        try:
            observed[name] = Observed([_row(kinds[name].row, row) for row in found["rows"]], str(found.get("failure", "")))
        except (KeyError, TypeError, ValueError) as error:
            raise BadSnapshot(f"kind {name}: {error}") from None
    return Seen({**{name: Observed([]) for name in kinds}, **observed})


def document_of(value: Any) -> Any:
    """A NamedTuple with all that is in it, rows too, as JSON values."""
    return _plain(value)


def value_from(hint: Any, document: Any, kinds: Kinds) -> Any:
    """The same back, of the type that it was. Raises ValueError, TypeError or KeyError."""
    return _row(hint, document, {kind.row.__name__: kind.row for kind in kinds.values()})


def _plain(value: Any) -> Any:
    if hasattr(value, "_fields"):
        document = {name: _plain(getattr(value, name)) for name in value._fields if name != "origin"}
        return {"": type(value).__name__, **document}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value


_NO_ROWS: Mapping[str, Any] = {}


def _row(hint: Any, value: Any, rows: Mapping[str, Any] = _NO_ROWS) -> Any:
    """A value of the type that a field's annotation names; where it is Any, a row of `rows`."""
    if isinstance(value, Mapping) and "base64" in value:
        return base64.b64decode(value["base64"])
    if isinstance(value, Mapping) and "" in value:
        return _tuple(hint, value, rows)
    if isinstance(value, Mapping):
        inner = next((typing.get_args(one)[1] for one in _alternatives(hint) if typing.get_origin(one) is abc.Mapping), None)
        if inner is None:
            raise ValueError("a mapping is no part of a row")
        return {name: _row(inner, one, rows) for name, one in value.items()}
    if isinstance(value, list):
        inner = next((typing.get_args(one)[0] for one in _alternatives(hint) if typing.get_origin(one) is tuple), Any)
        return tuple(_row(inner, one, rows) for one in value)
    return value


def _tuple(hint: Any, value: Mapping[str, Any], rows: Mapping[str, Any]) -> Any:
    """A NamedTuple, by its name."""
    name = value[""]
    chosen = (
        rows.get(name)
        if hint is Any
        else next((one for one in _alternatives(hint) if hasattr(one, "_fields") and one.__name__ == name), None)
    )
    if chosen is None:
        raise ValueError(f"{name} is no part of a row")
    hints = typing.get_type_hints(chosen)
    return chosen(**{field: _row(hints[field], one, rows) for field, one in value.items() if field})


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.get_args(hint)
    return (hint,)
