"""The words of the engine: row, ref, claim, change, action, plan.

Everything here is an immutable value. A *row* is one object that a kernel (or a
file, a BPF map, a cloud route table) can hold; the same type stands on both
sides of the diff. Rows are NamedTuples of one fixed layout::

    key, attribute, attribute, ..., [handle, ...], origin

* ``key`` is a NamedTuple of its own: what makes the row *this* row.
* attributes are compared. ``None`` in a wanted row means "not managed"; the
  absence of a value is ``""`` or ``0``, so that removing it from the spec is a
  difference like any other.
* handles (a nexthop id) are what the kernel wants a number for; not compared.
* ``origin`` is where the row comes from; not compared.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, Protocol, TypeVar

Key = tuple[Any, ...]


class Origin(NamedTuple):
    """Where a row comes from, for people: an intent, a thing, a place, a reason."""

    intent: str  # "fabric"
    what: str  # "node n2"
    where: str = ""  # "network.yaml:7"
    why: str = ""  # "overlay: n1 and n2 name no common subnet"

    def __str__(self) -> str:
        return f"{self.intent}: {self.what}" + (f" ({self.where})" if self.where else "")


class Unknown(str):
    """A value that only the node itself can tell; it prints, and can never be executed."""

    __slots__ = ()

    def __new__(cls, what: str) -> Unknown:
        return super().__new__(cls, f"‹{what}›")

    @classmethod
    def within(cls, text: str) -> Unknown:
        """A value of which only a part is unknown: `text` holds that part already, as an Unknown prints."""
        return str.__new__(cls, text)


class Row(Protocol):
    """What every row type has; see the module's docstring for the layout."""

    @property
    def key(self) -> Any: ...
    @property
    def origin(self) -> tuple[Origin, ...]: ...


R = TypeVar("R", bound=Row)
T = TypeVar("T")


def fields(row: Row | type[Row]) -> tuple[str, ...]:
    """The field names of a row, in their order."""
    names: tuple[str, ...] = row._fields  # type: ignore[union-attr]
    return names


def with_fields(row: R, **changes: Any) -> R:
    """A copy of `row` with some fields changed."""
    copy: R = row._replace(**changes)  # type: ignore[attr-defined]
    return copy


class Ref(NamedTuple):
    """The name of one row: its kind and its key (or its handle, where the kernel knows it by that)."""

    kind: str
    key: Key

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(_said(part) for part in self.key if part not in ('', 0))}"


def _said(part: Any) -> str:
    if type(part) is tuple:
        return " ".join(map(str, part))
    return part.hex(" ") if type(part) is bytes else str(part)


class Claim(NamedTuple):
    """A resource that only one row may hold, e.g. a VXLAN's VNI, port and family."""

    resource: str
    value: Key

    def __str__(self) -> str:
        return f"{self.resource} {' '.join(str(part) for part in self.value if part != '')}"


class Owner(enum.Enum):
    """Whose a seen row is, told by marks in the kernel."""

    OURS = "ours"
    FOREIGN = "foreign"


class Verb(enum.Enum):
    """What an action does to its row."""

    CREATE = "+"
    UPDATE = "~"
    DELETE = "-"


class Change(NamedTuple):
    """One row that differs.

    create: ``old`` is None. delete: ``new`` is None. With both, it is an update,
    or, where ``replace`` gives the reason why it cannot change in place, a
    delete followed by a create. ``after``: what must be in place before the old row
    may go; where one of these failed or was refused, nothing happens to it.
    """

    kind: str
    old: Any
    new: Any
    reason: str
    replace: str = ""
    after: tuple[Ref, ...] = ()

    @property
    def row(self) -> Any:
        """The row as it will be, or for a delete, as it was."""
        return self.old if self.new is None else self.new


class Absent(NamedTuple):
    """One seen row that has to go although it is nobody's to delete but its maker's: an intent says so of a device that it takes over.

    `row` stands as it was observed; one that differs by now is another one, and stays. Where another row is
    wanted under its key, it becomes that one in place.
    """

    row: Any
    why: str  # for people: it is the reason in the plan
    after: tuple[Ref, ...] = ()  # what must be in place before it goes
    origin: tuple[Origin, ...] = ()


class Conflict(NamedTuple):
    """A wanted row whose name or claim somebody else's object holds. It is refused."""

    kind: str
    new: Any
    foreign: Any
    reason: str
    remedy: str


class StagedFile(NamedTuple):
    """Content that is written beside its target before the action's lines run."""

    path: str
    content: bytes
    mode: int  # permission bits


class Line(NamedTuple):
    """One command as a person would type it in the node's namespace, `netns` not yet added."""

    netns: str
    words: str

    def __str__(self) -> str:
        if not self.netns:
            return self.words
        tool, _, rest = self.words.partition(" ")
        if self.netns.startswith("/"):  # only what stands below /run/netns has a name
            return f"nsenter --net={self.netns} {self.words}"
        if tool in ("ip", "bridge", "tc"):
            return f"{tool} -n {self.netns} {rest}"
        return f"nsenter --net=/run/netns/{self.netns} {self.words}"


class Action(NamedTuple):
    """One step of a plan: one verb on one row, as the lines that do it."""

    verb: Verb
    change: Change
    ref: Ref
    needs: tuple[Ref, ...]
    lines: tuple[Line, ...] = ()
    files: tuple[StagedFile, ...] = ()
    note: str = ""  # why, for people
    held: str = ""  # why it does not run in this pass

    @classmethod
    def each(cls, *columns: Iterable[Any]) -> list[Action]:
        """Many at once, of all their fields: of a hundred thousand, a call for each would take longer than all else about them."""
        return list(map(tuple.__new__, repeat(cls), zip(*columns, strict=True)))


REFUSED = "which is refused"  # ends the reason of what hangs on something refused: a person is told of that one
WAITS = "after everything else is in place"  # held in this pass, not refused: shown, and part of the digest


class Refusal(NamedTuple):
    """A guard's no to the whole plan, and what would lift it."""

    reason: str
    remedy: str


class Observed(NamedTuple):
    """What one kind saw: its rows, or why it could not see."""

    rows: Sequence[Any]
    failure: str = ""


class Seen:
    """All that was observed of one node, by kind."""

    def __init__(self, observed: Mapping[str, Observed], absent: Mapping[str, str] | None = None) -> None:
        self.observed = dict(observed)
        self.absent: Mapping[str, str] = absent or {}  # namespaces that could not be asked, and why; "": gone with their pods
        self._index: dict[str, dict[Key, list[Any]]] = {}

    def __eq__(self, other: object) -> bool:
        """Cheap where nothing changed: an unchanged dump gives the very same rows."""
        return isinstance(other, Seen) and self.observed == other.observed and self.absent == other.absent

    __hash__ = None  # type: ignore[assignment]

    def rows(self, kind: str) -> Sequence[Any]:
        found = self.observed.get(kind)
        return found.rows if found else []

    def failure(self, kind: str) -> str:
        """Why this kind could not be observed; empty when it could."""
        found = self.observed.get(kind)
        return found.failure if found else ""

    def at(self, kind: str, key: Key) -> list[Any]:
        """Every seen row under one key: the kernel's keys are not always unique."""
        index = self._index.get(kind)
        if index is None:
            index = {}
            for row in self.rows(kind):
                index.setdefault(row.key, []).append(row)
            self._index[kind] = index
        return index.get(key, [])

    def __iter__(self) -> Iterator[str]:
        return iter(self.observed)


class Wanted:
    """All rows that the spec wants of one node: by kind, then by key, in the intents' order; and those that it wants gone."""

    def __init__(
        self, rows: Mapping[str, Mapping[Key, Any]] | None = None, absent: Mapping[str, Mapping[Key, tuple[Absent, ...]]] | None = None
    ) -> None:
        self._rows: dict[str, Mapping[Key, Any]] = dict(rows or {})
        self.absent: Mapping[str, Mapping[Key, tuple[Absent, ...]]] = absent or {}

    def of(self, kind: str) -> Mapping[Key, Any]:
        return self._rows.get(kind, {})

    def rows(self, kind: str) -> Iterable[Any]:
        return self.of(kind).values()

    def kinds(self) -> Iterable[str]:
        return self._rows

    def get(self, ref: Ref) -> Any:
        return self.of(ref.kind).get(ref.key)

    def without(self, netns: Container[str]) -> Wanted:
        """The rows that lie in other namespaces."""
        return Wanted(_outside(self._rows, netns), _outside(self.absent, netns))

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows.values())


def _outside(rows: Mapping[str, Mapping[Key, T]], netns: Container[str]) -> dict[str, dict[Key, T]]:
    return {kind: {key: row for key, row in mine.items() if getattr(key, "netns", "") not in netns} for kind, mine in rows.items()}


class Plan(NamedTuple):
    """What a round would run on one node, in order.

    `digest` covers every line and every staged content of the actions that would
    run, now or once the rest is in place; it belongs to one node's kernel at one time.
    """

    node: str
    actions: tuple[Action, ...]
    conflicts: tuple[Conflict, ...] = ()
    failures: tuple[str, ...] = ()  # kinds that could not be observed
    refusal: Refusal | None = None
    digest: str = ""

    @property
    def runnable(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if not action.held)

    @property
    def empty(self) -> bool:
        """True when the node is as it should be: nothing to do, nothing refused, nothing unseen."""
        return not (self.actions or self.conflicts or self.failures)
