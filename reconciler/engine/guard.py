"""What must not run: by itself, in this pass, or without a person's word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from reconciler.engine.diff import NOT_WANTED
from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import REFUSED, WAITS, Action, Conflict, Owner, Ref, Refusal, Seen, Verb, Wanted


class Limits(NamedTuple):
    """A plan that deletes or replaces more than this of our rows of one kind needs a person's word."""

    share: float = 0.3
    floor: int = 20


Hold = Callable[[Action], str]  # why an action must not run now; "" when it may


def builds_only(action: Action) -> str:
    """For a plan of content that may be out of date: it creates and repairs, and takes nothing away."""
    moved = bool(action.change.after) and action.note != NOT_WANTED  # what takes its place is there
    takes = (action.verb is Verb.DELETE and not moved) or action.change.replace
    return "made from the content kept on disk, which may be out of date: nothing is deleted or replaced" if takes else ""


def hold(actions: Iterable[Action], why: Hold) -> list[Action]:
    """The actions, those that must not run now held."""
    return [action._replace(held=reason) if not action.held and (reason := why(action)) else action for action in actions]


def block(kinds: Kinds, wanted: Wanted, seen: Seen, actions: Iterable[Action], conflicts: Sequence[Conflict]) -> list[Action]:
    """Hold what needs something refused, unseen, absent or held already, transitively; and what waits for the rest."""
    actions = list(actions)
    refused = {kinds[conflict.kind].ref(conflict.new) for conflict in conflicts}
    refused |= {action.ref for action in actions if action.held not in ("", WAITS)}
    held = _met(kinds, wanted, seen, actions, refused)
    unsettled = bool(conflicts) or any(seen.failure(name) for name in seen)
    waiters = {name for name, kind in kinds.items() if type(kind).waits is not Kind.waits}
    waiting = [action.change.kind in waiters and kinds[action.change.kind].waits(action.change.row) for action in held] if waiters else []
    if any(waiting) and (unsettled or not all(waiting)):
        held = [action._replace(held=WAITS) if wait and not action.held else action for action, wait in zip(held, waiting, strict=True)]
    return held


def _met(kinds: Kinds, wanted: Wanted, seen: Seen, actions: list[Action], refused: set[Ref]) -> list[Action]:
    """The actions, those held of which something that they need is refused, unseen or absent; `refused` grows by them."""
    present = _Present(kinds, wanted, seen, actions)
    choosy = {name for name, kind in kinds.items() if type(kind).impossible is not Kind.impossible}
    met: set[int] = set()  # ids of needs that were found to be met; thousands of rows share them
    held: list[Action] = []
    for action in actions:
        why = action.held if action.held != WAITS else ""
        if not why and action.verb is not Verb.DELETE:
            if action.change.kind in choosy:
                why = kinds[action.change.kind].impossible(action.change.new, seen)
            if not why and id(action.needs) not in met:
                why = _why_not(action, refused, present, seen)
                if not why:
                    met.add(id(action.needs))
        if not why and action.change.after:
            why = next((f"waits for {one}, {REFUSED}" for one in action.change.after if one in refused), "")
        if why:
            refused.add(action.ref)
            met.clear()
            action = action._replace(held=why)
        held.append(action)
    return held


def _why_not(action: Action, refused: set[Ref], present: _Present, seen: Seen) -> str:
    for need in action.needs:
        if need in refused:
            return f"needs {need}, {REFUSED}"
        if seen.failure(need.kind):
            return f"needs {need}, and that could not be observed: {seen.failure(need.kind)}"
        if need not in present:
            return f"needs {need}, which does not exist"
    return ""


class _Present:
    """The refs that exist or will: what is made now, else all of a kind; a set per kind that is asked for."""

    def __init__(self, kinds: Kinds, wanted: Wanted, seen: Seen, actions: Sequence[Action]) -> None:
        self._kinds, self._wanted, self._seen, self._actions = kinds, wanted, seen, actions
        self._made: dict[str, set[Ref]] = {}
        self._refs: dict[str, set[Ref]] = {}

    def __contains__(self, ref: Ref) -> bool:
        made = self._made.get(ref.kind)
        if made is None:
            of_kind = (action for action in self._actions if action.change.kind == ref.kind)
            made = self._made[ref.kind] = {action.ref for action in of_kind if action.verb is not Verb.DELETE}
        if ref in made:
            return True
        refs = self._refs.get(ref.kind)
        if refs is None:
            kind = self._kinds[ref.kind]
            refs = {kind.ref(row) for row in self._seen.rows(ref.kind)}
            refs |= {kind.ref(row) for row in self._wanted.rows(ref.kind)}
            self._refs[ref.kind] = refs
        return ref in refs


def limit(kinds: Kinds, seen: Seen, actions: Iterable[Action], limits: Limits) -> Refusal | None:
    """Refuse a plan that takes away too much at once, until a person confirms its digest."""
    going = Counter(
        action.change.kind
        for action in actions
        if action.verb is Verb.DELETE and action.held in ("", WAITS) and (action.note == NOT_WANTED or action.change.replace)
    )
    for name, count in going.items():
        if count <= limits.floor:
            continue
        kind = kinds[name]
        ours = sum(kind.owner(row, seen) is Owner.OURS for row in seen.rows(name))
        if count > limits.share * ours:
            return Refusal(
                f"the plan deletes or replaces {count} of our {ours} {name} rows; "
                f"limits.maxDeletes allows {limits.share:.0%}, or {limits.floor}",
                "read the plan; if it is right, confirm it with --force DIGEST, or raise limits.maxDeletes",
            )
    return None
