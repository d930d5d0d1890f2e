"""A plan as a person reads it: signs, the very lines, and a comment where the reason changes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.engine.merge import said_by
from reconciler.engine.model import WAITS, Action, Plan, Verb

_WORDS = {Verb.CREATE: "create", Verb.UPDATE: "change", Verb.DELETE: "delete"}


class Printed(NamedTuple):
    """One printed line: its sign (+ ~ - for what runs, ? held back, ! refused), the text, why."""

    sign: str
    text: str
    comment: str = ""


def visible(text: str) -> str:
    """One line as a terminal and a shell's comment may have it: control characters, line ends and text direction marks as \\x1b.

    Names and annotations are other people's; the plan is read by people and pasted into shells.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def counts(plan: Plan) -> str:
    """ "4 to create, 1 to delete"; "nothing to do" for an empty plan."""
    found = Counter(action.verb for action in plan.actions)
    parts = [f"{found[verb]} to {word}" for verb, word in _WORDS.items() if found[verb]]
    if plan.conflicts:
        parts.append(f"{len(plan.conflicts)} refused")
    return ", ".join(parts) or "nothing to do"


def length(plan: Plan) -> int:
    """How many lines `printed` gives."""
    lines = sum(len(action.lines) if action.held in ("", WAITS) else 1 for action in plan.actions)
    return lines + 2 * len(plan.conflicts) + len(plan.failures) + (2 if plan.refusal is not None else 0)


def printed(plan: Plan) -> Iterator[Printed]:
    """Every line of a plan, in order, then what was refused or could not be seen."""
    before = ""
    for action in plan.actions:
        why = reason(action)
        comment, before = _comment(about(action), "" if why == before else why), why
        if action.held not in ("", WAITS):
            yield Printed("?", _held(action), action.held)
            continue
        if action.held:
            comment = _comment(about(action), f"{why}; {WAITS}")
        for number, line in enumerate(action.lines):
            yield Printed(action.verb.value, str(line), comment if number == 0 else "")
    for conflict in plan.conflicts:
        yield Printed("!", conflict.reason, f"wanted by {said_by(conflict.new)}")
        yield Printed("", f"    {conflict.remedy}")
    for failure in plan.failures:
        yield Printed("!", f"could not be observed: {failure}")
    if plan.refusal is not None:
        yield Printed("!", f"refused: {plan.refusal.reason}")
        yield Printed("", f"    {plan.refusal.remedy}")


def reason(action: Action) -> str:
    """Why an action is in the plan: who wants it, and what differs."""
    if action.verb is Verb.DELETE:
        return action.note
    origin = said_by(action.change.new)
    return f"{origin} · {action.note}" if action.note else origin


def about(action: Action) -> str:
    """What a row is, in words, where its lines do not say it (rows that have `about` do); else empty."""
    return str(getattr(action.change.row, "about", ""))


def _comment(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _held(action: Action) -> str:
    if action.lines:
        return " && ".join(str(line) for line in action.lines)
    return f"{_WORDS[action.verb]} {action.ref}"


def text(plan: Plan, title: str) -> str:
    """The whole plan as plain text: `# n1 · title · 4 to create` and its lines, comments aligned."""
    return "\n".join([visible(f"# {plan.node} · {title} · {counts(plan)}"), *aligned(printed(plan))]) + "\n"


def aligned(lines: Iterable[Printed]) -> Iterator[str]:
    """Plain lines; comments begin in one column, except behind lines that are longer."""
    found = list(lines)
    column = min(max((len(one.text) for one in found if one.comment), default=0), 84)
    for one in found:
        line = visible(f"{one.sign} {one.text}" if one.sign else one.text)
        yield f"{line.ljust(column + 2)}   # {visible(one.comment)}" if one.comment else line
