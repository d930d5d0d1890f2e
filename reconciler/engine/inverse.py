"""The way back from a plan: the lines that make the node as it was seen, rendered before anything runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import groupby
from typing import Any

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Action, Change, Ref, Seen, Verb
from reconciler.engine.render import Renderer

UNDOES = "undoes the change"
RESTORES = "was there before the change"


def inverse(kinds: Kinds, renderer: Renderer, actions: Sequence[Action], seen: Seen, ground: Set[Ref]) -> list[Action]:
    """What undoes `actions`, in order.

    First each of them the other way round, the last one first; but what was updated
    goes back in the order of the plan, in which nothing is named before it is there
    (a route's gateway may be reached by another one). Then everything that
    hangs on the devices of `ground` is put back as it was seen, whoever made it: the kernel
    takes routes and addresses along without a word. Lines for what is still there are
    refused by the kernel, and that is as it should be: the way back has to work from
    the middle of the change too.
    """
    traced = [action for action in actions if _leaves_a_trace(kinds, action)]
    flipped = [_flipped(kinds[action.change.kind], action) for action in _backwards(kinds, traced)]
    known = {action.ref for action in flipped if action.verb is not Verb.DELETE}
    found: list[Action] = []
    for action in flipped:
        found.append(action)
        if action.verb is Verb.CREATE:  # what hung on it went without a line, and others lean on that
            found += _restored(kinds, seen, {action.ref}, known)
    settled = {action.ref for action in found if action.note == RESTORES or action.verb is Verb.UPDATE}
    found += _restored(kinds, seen, ground, settled)  # once more what may have leaned on one that came after it
    return [action for action in renderer.render(found) if action.lines]


def _backwards(kinds: Kinds, actions: Sequence[Action]) -> Iterator[Action]:
    def place(action: Action) -> tuple[str, int, bool]:
        kind = kinds[action.change.kind]
        return kind.name, kind.rank_of(action.change.row), action.verb is Verb.DELETE

    for group in reversed([list(group) for _, group in groupby(actions, key=place)]):
        yield from (action for action in group if action.verb is Verb.UPDATE)
        yield from (action for action in reversed(group) if action.verb is not Verb.UPDATE)


def _leaves_a_trace(kinds: Kinds, action: Action) -> bool:
    """Not so a row that appears with its device, and has no line that takes it away."""
    return action.verb is not Verb.CREATE or kinds[action.change.kind].deletes


def _flipped(kind: Kind[Any], action: Action) -> Action:
    old, new = action.change.old, action.change.new
    if action.verb is Verb.CREATE:
        change = Change(kind.name, new, None, UNDOES)
        return Action(Verb.DELETE, change, kind.ref(new), kind.needs(new), note=UNDOES)
    if action.verb is Verb.DELETE:
        change = Change(kind.name, None, old, UNDOES)
        return Action(Verb.CREATE, change, kind.ref(old), kind.needs(old), note=UNDOES)
    change = Change(kind.name, filled(old, new), old, UNDOES)
    return Action(Verb.UPDATE, change, kind.ref(old), kind.needs(old), note=UNDOES)


def filled(seen: Any, wanted: Any) -> Any:
    """The row that an update leaves: what is not managed stays as it was seen."""
    if wanted is None:
        return seen
    if type(seen) is type(wanted) and hasattr(wanted, "_fields"):
        return type(wanted)(*(filled(before, after) for before, after in zip(seen, wanted, strict=True)))
    return wanted


def _restored(kinds: Kinds, seen: Seen, ground: Set[Ref], known: set[Ref]) -> list[Action]:
    actions: list[Action] = []
    for name, kind in kinds.items():
        if kind.rechecked:
            continue  # a device that is gone is made again by the flipped action, or was not ours to take
        for row in seen.rows(name):
            ref = kind.ref(row)
            needs = kind.needs(row)
            if ref not in known and any(need in ground for need in needs):
                actions.append(Action(Verb.CREATE, Change(name, None, row, RESTORES), ref, needs, note=RESTORES))
    return actions
