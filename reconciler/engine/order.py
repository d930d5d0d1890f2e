"""From differences to steps: what dies with its parent, what has to be made again, what comes first.

A parent dies *early* when it is replaced, when its deletion frees a claim that a
wanted row needs, or when an update destroys what hangs on it; its children are
then made again. A parent dies *late* when nothing wants it any more; children
that move away from it are plain updates before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Action, Change, Owner, Ref, Seen, Verb, Wanted

_KIND = attrgetter("change.kind")


class Step(NamedTuple):
    """One verb of one change, not yet rendered."""

    verb: Verb
    change: Change
    note: str


def order(kinds: Kinds, wanted: Wanted, seen: Seen, changes: Iterable[Change]) -> list[Action]:
    """Every step of the changes, in an order in which nothing is named before it exists."""
    changes = list(changes)
    standing = [change for change in changes if change.old is not None]
    if not standing:
        return _ranked(kinds, [Step(Verb.CREATE, change, change.reason) for change in changes])
    detached: list[Step] = []
    early, losses = _early(kinds, changes, standing), _losses(kinds, standing)
    if early or losses:
        by_ref = {(change.kind, id(change.old) if change.new is None else change.row.key): change for change in changes}
        detached = _cascade(kinds, wanted, seen, by_ref, early, losses)
        changes = list(by_ref.values())
    late = {kinds[change.kind].ref(change.old) for change in changes if change.new is None} - set(early)
    steps: dict[str, list[Step]] = {"detach": detached, "early": [], "make": [], "late": []}
    for change in changes:
        if change.old is None:
            steps["make"].append(Step(Verb.CREATE, change, change.reason))
            continue
        for when, step in _steps(kinds[change.kind], change, early, late):
            steps[when].append(step)
    return [
        *_ranked(kinds, steps["detach"], descending=True),
        *_ranked(kinds, steps["early"], descending=True),
        *_ranked(kinds, steps["make"]),
        *_ranked(kinds, steps["late"], descending=True),
    ]


def _steps(kind: Kind[Any], change: Change, early: dict[Ref, str], late: set[Ref]) -> Iterator[tuple[str, Step]]:
    """The steps of one change, each with the phase that it belongs to."""
    if change.new is None:
        dying_parent = next((need for need in kind.needs(change.old) if need in late or need in early), None)
        goes_along = dying_parent is not None and not kind.detach_first and kind.without(change.old, dying_parent) is None
        if not goes_along:  # else it goes with its parent, without a line of its own
            yield "early" if kind.ref(change.old) in early else "late", Step(Verb.DELETE, change, change.reason)
    elif change.replace:
        yield "early", Step(Verb.DELETE, change, f"made anew: {change.replace}")
        yield "make", Step(Verb.CREATE, change, f"made anew: {change.replace}")
    else:
        yield "make", Step(Verb.CREATE if change.old is None else Verb.UPDATE, change, change.reason)


def _early(kinds: Kinds, changes: Iterable[Change], standing: Iterable[Change]) -> dict[Ref, str]:
    """Parents that die before anything is made, each with the reason. `standing`: the changes of what is there."""
    early: dict[Ref, str] = {}
    claiming = {name for name, kind in kinds.items() if type(kind).claims is not Kind.claims}
    needed = {
        claim for change in changes if change.kind in claiming and change.new is not None for claim in kinds[change.kind].claims(change.new)
    }
    sharing = {name for name, kind in kinds.items() if type(kind).shares is not Kind.shares}
    crowded = {
        (change.kind, place)
        for change in changes
        if change.kind in sharing and change.new is not None and (place := kinds[change.kind].shares(change.new)) is not None
    }
    for change in standing:
        kind = kinds[change.kind]
        if change.replace:
            early[kind.ref(change.old)] = "is made anew"
        elif change.new is None and change.kind in sharing and (change.kind, kind.shares(change.old)) in crowded:
            early[kind.ref(change.old)] = "goes first"
        elif change.new is None and any(claim in needed for claim in kind.claims(change.old)):
            early[kind.ref(change.old)] = "makes room"
    return early


def _losses(kinds: Kinds, standing: Iterable[Change]) -> dict[Ref, frozenset[str]]:
    """Parents whose update destroys what hangs on them, each with the kinds of children that it takes."""
    losses: dict[Ref, frozenset[str]] = {}
    for change in standing:
        if change.new is not None and not change.replace:
            kind = kinds[change.kind]
            lost = kind.loses(change.old, change.new)
            if lost:
                losses[kind.ref(change.old)] = lost
    return losses


def _cascade(
    kinds: Kinds,
    wanted: Wanted,
    seen: Seen,
    changes: dict[Any, Change],
    early: dict[Ref, str],
    losses: dict[Ref, frozenset[str]],
) -> list[Step]:
    """Follow the deaths of parents down to their children; returns explicit deletes that go first.

    Changes `changes` (rows that die and are wanted are made again) and `early`
    (rows that die are parents too).
    """
    detached: list[Step] = []
    for name, kind in kinds.items():
        settled = False
        while not settled:  # links hang on links: again until no further one dies
            settled = True
            for row in seen.rows(name):
                ref = kind.ref(row)
                if ref in early:
                    continue
                parent = _dead_parent(kind, row, name, early, losses)
                if parent is None:
                    continue
                died = _bereave(kind, row, parent, wanted, seen, changes, detached, parent in early)
                if died:
                    early[ref] = f"goes with {parent}"
                    settled = False
    return detached


def _dead_parent(kind: Kind[Any], row: Any, name: str, early: dict[Ref, str], losses: dict[Ref, frozenset[str]]) -> Ref | None:
    for need in kind.needs(row):
        if need in early or name in losses.get(need, ()):
            return need
    return None


def _bereave(
    kind: Kind[Any],
    row: Any,
    parent: Ref,
    wanted: Wanted,
    seen: Seen,
    changes: dict[Any, Change],
    detached: list[Step],
    gone: bool,
) -> bool:
    """What becomes of a row whose parent dies (`gone`) or is updated destructively. True: it dies too."""
    new = wanted.of(kind.name).get(row.key)
    left = kind.without(row, parent) if gone else None
    if left is not None:
        if new is not None and not kind.same(left, new):
            changes[kind.name, row.key] = Change(kind.name, left, new, f"put back: {parent} is made anew")
        return False
    ours = kind.owner(row, seen) is Owner.OURS or (new is not None and kind.same(row, new))
    if ours and gone and kind.detach_first:
        changes.pop((kind.name, id(row)), None)
        detached.append(Step(Verb.DELETE, Change(kind.name, row, new, ""), f"goes first: {parent} is removed"))
    if new is not None and ours:
        changes[kind.name, row.key] = Change(
            kind.name, None, new, f"put back: {parent} is made anew" if gone else f"put back: {parent} changes"
        )
    return True


def _ranked(kinds: Kinds, steps: list[Step], *, descending: bool = False) -> list[Action]:
    """Steps by rank; inside one rank in the intents' order, but parents before children."""
    by_kind: dict[str, list[Step]] = {}
    for name, mine in groupby(steps, key=_KIND):
        by_kind.setdefault(name, []).extend(mine)
    by_rank: dict[tuple[int, str], list[Step]] = {}
    for name, of_kind in by_kind.items():
        kind = kinds[name]
        if type(kind).rank_of is Kind.rank_of:
            by_rank[kind.rank, name] = of_kind
            continue
        for step in of_kind:
            by_rank.setdefault((kind.rank_of(step.change.row), name), []).append(step)
    actions: list[Action] = []
    for place in sorted(by_rank, reverse=descending):
        made = _actions(kinds[place[1]], by_rank[place])
        actions += reversed(made) if descending else made
    return actions


def _actions(kind: Kind[Any], steps: list[Step]) -> list[Action]:
    """Of one kind and rank, parents before children."""
    verbs, changes, notes = zip(*steps, strict=True)
    rows = [change.old if verb is Verb.DELETE else change.new for verb, change, _ in steps]
    needs = list(map(kind.needs, rows))
    nothing = [()] * len(steps)
    made = Action.each(verbs, changes, kind.refs(rows), needs, nothing, nothing, notes, [""] * len(steps))
    hangs_together = any(need.kind == kind.name for of_row in {id(one): one for one in needs}.values() for need in of_row)
    return _topological(made) if hangs_together else made


def _topological(actions: list[Action]) -> list[Action]:
    by_ref = {action.ref: action for action in actions}
    graph = TopologicalSorter({a.ref: [need for need in a.needs if need in by_ref] for a in actions})
    try:
        return [by_ref[ref] for ref in graph.static_order()]
    except CycleError:
        return actions  # a veth pair names each other; the kernel makes both at once
