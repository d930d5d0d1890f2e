"""What is adopted: somebody else's object, named by the spec and managed as far as it is stated.

It is never marked, never made, never made anew and never deleted.
"""

from __future__ import annotations

from typing import Any

from reconciler.engine.kind import Kind
from reconciler.engine.model import Change, Conflict, with_fields


def adopted(kind: Kind[Any], old: Any, new: Any) -> Change | Conflict:
    """The update of a foreign row; a conflict where it would have to be made anew."""
    whole = filled(old, new, kind.attributes)
    why = kind.replaces(old, whole)
    if why:
        return Conflict(
            kind.name,
            new,
            old,
            f"{kind.ref(new)} is somebody else's, and what is adopted is not made anew: {why}",
            f"leave {', '.join(kind.differs(old, new))} out in network.yaml, or let its owner change it",
        )
    return Change(kind.name, old, whole, f"differs in {', '.join(kind.differs(old, new))}")


def nothing_to_adopt(kind: Kind[Any], new: Any) -> Conflict:
    """A row that is only managed where somebody made it, and nobody did."""
    return Conflict(
        kind.name,
        new,
        None,
        f"{kind.ref(new)} does not exist, and what is adopted is never made",
        "wait for whoever makes it, name another one, or leave out `adopt: true` for plumbline to make it",
    )


def filled(old: Any, new: Any, names: tuple[str, ...]) -> Any:
    """`new`, with what it does not manage as it is: lines that state an object whole must not reset the rest of it."""
    changes: dict[str, Any] = {}
    for name in names:
        before, after = getattr(old, name), getattr(new, name)
        if after is None:
            changes[name] = before
        elif type(before) is type(after) and hasattr(after, "_fields"):
            changes[name] = filled(before, after, after._fields)
    return with_fields(new, **changes) if changes else new
