"""Plans as differences: attributes before and after, files line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Action, Plan, Unknown, Verb
from reconciler.engine.text import about, counts, visible

_SIGN = {Verb.CREATE: "+", Verb.UPDATE: "~", Verb.DELETE: "-"}


def diff(plan: Plan, kinds: Kinds, title: str) -> str:
    """Every action as the attributes that it changes."""
    lines = [f"# {plan.node} · {title} · {counts(plan)}"]
    for action in plan.actions:
        remarks = " · ".join(filter(None, (about(action), action.held)))
        lines.append(f"{_SIGN[action.verb]} {action.ref}" + (f"   # {remarks}" if remarks else ""))
        lines += [f"    {line}" for line in changes(action, kinds)]
    lines += [f"! {conflict.reason}; {conflict.remedy}" for conflict in plan.conflicts]
    lines += [f"! could not be observed: {failure}" for failure in plan.failures]
    if plan.refusal is not None:
        lines.append(f"! refused: {plan.refusal.reason}; {plan.refusal.remedy}")
    return "\n".join(map(visible, lines)) + "\n"


def changes(action: Action, kinds: Kinds) -> Iterator[str]:
    """`name: before → after` for each attribute that differs."""
    kind = kinds[action.change.kind]
    old, new = action.change.old, action.change.new
    if action.verb is Verb.DELETE:
        return
    for name in kind.attributes:
        before, after = getattr(old, name) if old is not None else None, getattr(new, name)
        if after is None or before == after:
            continue
        if isinstance(after, bytes) and about(action):  # told in words, and no text
            yield f"{name}: {_shown(before)} → {_shown(after)}" if old is not None else f"{name}: {_shown(after)}"
        elif isinstance(after, bytes):
            yield from _content(name, before, after, secret=bool(getattr(new, "secret", False)))
        elif hasattr(after, "_fields"):
            yield from _parts(name, before, after)
        elif old is not None or after not in ("", 0, False, ()):
            yield f"{name}: {_shown(before)} → {_shown(after)}" if old is not None else f"{name}: {_shown(after)}"


def _parts(name: str, before: Any, after: Any) -> Iterator[str]:
    for part in after._fields:
        value, was = getattr(after, part), getattr(before, part, None)
        if value is not None and value != was and (before is not None or value not in ("", 0, False, ())):
            yield f"{name}.{part}: {_shown(was)} → {_shown(value)}" if before is not None else f"{name}.{part}: {_shown(value)}"


def _content(name: str, before: Any, after: bytes, *, secret: bool) -> Iterator[str]:
    if secret:
        yield f"{name}: {len(after)} bytes, kept secret"
        return
    was = before.decode("utf-8", "replace").splitlines() if isinstance(before, bytes) else []
    yield from difflib.unified_diff(was, after.decode("utf-8", "replace").splitlines(), "before", "after", lineterm="")


def _shown(value: Any) -> str:
    if value is None:
        return "(not there)"
    if isinstance(value, bytes):
        return value.hex(" ")
    if isinstance(value, Unknown) or value not in ("", ()):
        return str(value)
    return "(none)"
