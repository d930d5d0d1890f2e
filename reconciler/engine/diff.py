"""Wanted against seen: what differs, and what we must not touch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reconciler.engine.adopt import adopted, nothing_to_adopt
from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Absent, Change, Claim, Conflict, Key, Owner, Seen, Wanted, fields
from reconciler.engine.settled import Settled

NOT_WANTED = "nothing in network.yaml wants this"
SURPLUS = "a second one under the same key"


class Diff(NamedTuple):
    """What has to change, and the wanted rows that somebody else's objects stand in the way of."""

    changes: list[Change]
    conflicts: list[Conflict]


def diff(kinds: Kinds, wanted: Wanted, seen: Seen, settled: Settled | None = None) -> Diff:
    """Compare kind by kind. A kind that could not be observed yields nothing: no answer is no news.

    settled: an earlier state without any difference; what has not changed since is not compared again.
    """
    found = Diff([], [])
    if settled is not None and (wanted.absent or not settled.holds(kinds, seen)):
        settled = None
    for name, kind in kinds.items():
        if seen.failure(name):
            continue
        want, rows = settled.since(name, wanted, seen) if settled else (wanted.of(name), seen.rows(name))
        one = _diff_kind(kind, want, rows, seen, wanted.absent.get(name, {}), wanted.of(name))
        found.changes.extend(one.changes)
        found.conflicts.extend(one.conflicts)
    return _claims(kinds, seen, found)


def _diff_kind(
    kind: Kind[Any],
    want: Mapping[Key, Any],
    rows: Iterable[Any],
    seen: Seen,
    absent: Mapping[Key, tuple[Absent, ...]],
    stated: Mapping[Key, Any],
) -> Diff:
    """Split seen rows into ours and foreign *before* keying: kernel keys are not always unique.

    want, rows: those to be compared, of all that are `stated` and seen.
    """
    missing = {row.key: row for row in want.values()}
    rest: list[Any] = []
    end, same = -kind.uncompared, kind.same
    for row in rows:
        key = row[0]
        new = missing.get(key)
        if new is not None and (row[1:end] == new[1:end] or same(row, new)):
            del missing[key]
        else:
            rest.append(row)
    if not missing and not rest:
        return Diff([], [])

    ours: dict[Key, list[Any]] = {}
    foreign: dict[Key, list[Any]] = {}
    for row in rest:
        side = ours if kind.owner(row, seen) is Owner.OURS else foreign
        side.setdefault(row.key, []).append(row)

    changes: list[Change] = []
    conflicts: list[Conflict] = []
    for key, new in missing.items():
        mine = ours.pop(key, None)
        theirs = foreign.get(key, [])
        leaves = _leaves(kind, theirs[0], absent.get(key, ())) if theirs else None
        if mine:
            changes.append(_update(kind, mine[0], new))
            changes += [Change(kind.name, row, None, SURPLUS) for row in mine[1:]]
        elif leaves is not None:
            changes.append(_update(kind, theirs.pop(0), new)._replace(reason=leaves.why, after=leaves.after))
        elif theirs and kind.adopts(new):
            taken = adopted(kind, theirs[0], new)
            if isinstance(taken, Change):
                changes.append(taken)
            else:
                conflicts.append(taken)
        elif theirs and not kind.shares_keys:
            conflicts.append(_conflict(kind, new, theirs[0]))
        elif not kind.makes(new):
            conflicts.append(nothing_to_adopt(kind, new))
        else:
            changes.append(Change(kind.name, None, new, ""))
    for key, gone in absent.items():
        leaving = ((row, _leaves(kind, row, gone)) for row in foreign.get(key, ()))
        changes += [Change(kind.name, row, None, _who(one), after=one.after) for row, one in leaving if one is not None]
    if kind.deletes:
        for key, mine in ours.items():
            reason = SURPLUS if key in want else kind.unwanted(mine[0], stated) or NOT_WANTED
            after = tuple(ref for one in absent.get(key, ()) for ref in one.after)
            changes += [Change(kind.name, row, None, reason, after=after) for row in mine]
    return Diff(changes, conflicts)


def _leaves(kind: Kind[Any], row: Any, absent: Iterable[Absent]) -> Absent | None:
    """What says that this very row of somebody else has to go."""
    end = -kind.uncompared
    return next((one for one in absent if one.row[:end] == row[:end]), None)


def _who(absent: Absent) -> str:
    """The reason of a delete; no row is left whose origin could say it."""
    return ": ".join((*map(str, absent.origin), absent.why))


def _update(kind: Kind[Any], old: Any, new: Any) -> Change:
    differs = ", ".join(kind.differs(old, new))
    return Change(kind.name, old, new, f"differs in {differs}", kind.replaces(old, new) or "")


def _conflict(kind: Kind[Any], new: Any, foreign: Any) -> Conflict:
    adopt = ", or say `adopt: true` there to manage the stated attributes of the object as it is" if "adopt" in fields(kind.row) else ""
    return Conflict(
        kind.name,
        new,
        foreign,
        f"{kind.ref(new)} exists and is not ours (differs in {', '.join(kind.differs(foreign, new))})",
        f"remove it, or choose another name in network.yaml{adopt}",
    )


def _claims(kinds: Kinds, seen: Seen, found: Diff) -> Diff:
    """Turn changes whose claim a foreign row holds into conflicts."""
    for name, kind in kinds.items():
        if type(kind).claims is Kind.claims:
            continue
        held = foreign_claims(kind, seen.rows(name), seen)
        if not held:
            continue
        kept: list[Change] = []
        for change in found.changes:
            blocker = _blocker(kind, change, held)
            if blocker is None:
                kept.append(change)
                continue
            claim, row = blocker
            found.conflicts.append(
                Conflict(
                    name,
                    change.new,
                    row,
                    f"{kind.ref(change.new)} needs {claim}, which {kind.ref(row)} holds and is not ours",
                    f"remove {kind.ref(row)}, or choose another value in network.yaml",
                )
            )
        found = Diff(kept, found.conflicts)
    return found


def _blocker(kind: Kind[Any], change: Change, held: dict[Claim, Any]) -> tuple[Claim, Any] | None:
    if change.kind != kind.name or change.new is None:
        return None
    for claim in kind.claims(change.new):
        holder = held.get(claim)
        if holder is not None and holder.key != change.new.key:
            return claim, holder
    return None


def foreign_claims(kind: Kind[Any], rows: Iterable[Any], seen: Seen) -> dict[Claim, Any]:
    """What other people's rows hold."""
    return {claim: row for row in rows if kind.owner(row, seen) is Owner.FOREIGN for claim in kind.claims(row)}
