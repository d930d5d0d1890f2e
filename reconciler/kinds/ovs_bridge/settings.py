"""What rows of Open vSwitch are made of, besides columns with one value."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from reconciler.kinds.spelling import BadValue, Text

MARK = "plumbline"  # in external_ids: the intent that made it
KEYS = "plumbline-keys"  # beside it: the entries of shared maps that we put there
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def entry_name(text: str) -> str:
    """The name of an entry that ovs-vsctl reads without quotes."""
    if not _NAME.fullmatch(text) or text in (MARK, KEYS):
        raise ValueError(f"found {text!r}; allowed: letters, digits and _ . - (not {MARK} and {KEYS}, by which plumbline knows its own)")
    return text


class Setting(NamedTuple):
    """One entry of a map that others write to as well."""

    name: Annotated[str, Text(entry_name)]
    value: str


Intent = Annotated[str, Text(entry_name)]


def in_order(stated: tuple[Setting, ...] | None, field: str) -> tuple[Setting, ...] | None:
    """As the database tells them. Raises BadValue for what is said twice, or of no value."""
    if stated is None:
        return None
    names = [entry.name for entry in stated]
    for entry in stated:
        if names.count(entry.name) > 1:
            raise BadValue(f"{entry.name} is said twice", field)
        if not entry.value:
            raise BadValue(f"{entry.name} has no value: leave it out", field)
    return tuple(sorted(stated))


def held(old: tuple[Setting, ...] | None, stated: tuple[Setting, ...] | None) -> bool:
    """Whether all that is stated is there; what else there is, is others'."""
    return set(stated or ()) <= set(old or ())


def adopted_or_marked(intent: str | None, adopt: bool) -> str | None:
    """The mark of a row by hand. Raises BadValue for one that would claim what others made."""
    if adopt:
        if intent:
            raise BadValue("says that plumbline made it, and would delete it: leave it out of what is adopted", "intent")
        return None
    return intent or "resources"
