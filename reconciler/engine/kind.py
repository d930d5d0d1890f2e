"""What the engine has to be told about one kind of row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, Generic

from reconciler.engine.model import Claim, Key, Owner, R, Ref, Row, Seen, StagedFile, fields
from reconciler.engine.reader import Reader, Scope

Handles = Mapping[str, Mapping[Key, int]]  # by kind, then by key
NO_EFFECT = "no effect"  # the "failure" of a line that exited 0 and changed nothing


class Kind(ABC, Generic[R]):
    """All that is known of one sort of row. One folder under `reconciler/kinds/` each.

    A subclass must
      * name itself, its rank (parents before children) and its row type,
      * observe every row of its sort, normalised, without what the kernel made by itself,
      * tell from marks in the kernel which seen rows are ours,
      * have create.j2, update.j2 and delete.j2 beside it (update may be missing where
        every difference replaces; delete where nothing is ever deleted),
      * list in `grammar` the first words that its lines may begin with.
    It may say what a row needs, claims, loses; all of these are pure.
    """

    name: ClassVar[str]
    rank: ClassVar[int]
    row: ClassVar[type[Any]]
    grammar: ClassVar[tuple[tuple[str, ...], ...]]
    compounds: ClassVar[tuple[type[Any], ...]] = ()  # row types that intents state in place of many rows of this kind; see `enter`
    uncompared: ClassVar[int] = 1  # trailing fields that are not compared: handles and origin
    detach_first: ClassVar[bool] = False  # deleted explicitly before a parent that dies (far faster)
    shares_keys: ClassVar[bool] = False  # the kernel holds our row beside a foreign one of the same key
    joins: ClassVar[str] = ""  # kinds of one value here, side by side in a plan, run together: in one transaction of their tool
    rechecked: ClassVar[bool] = False  # its name can change hands: looked at again before it is written to
    deletes: ClassVar[bool] = True  # False: a row that leaves the spec stays as it is
    poll: ClassVar[float | None] = None  # seconds between looks, where the kernel sends no event
    events: ClassVar[tuple[int, ...]] = ()  # rtnetlink multicast groups that tell of this kind
    told: ClassVar[bool] = False  # polled, and yet whoever listens hears of every change that a look would find (see engine/looking.py)
    asks_for: ClassVar[bool] = False  # what `observe` gives depends on what is wanted of this kind

    # -- effects, through the Reader only ------------------------------------------------

    @abstractmethod
    def observe(self, io: Reader, scope: Scope) -> Iterable[R]:
        """Every row of this kind in scope. Raises ObservationFailed."""

    # -- pure ------------------------------------------------------------------------------

    @abstractmethod
    def owner(self, row: R, seen: Seen) -> Owner:
        """Whose a seen row is: how does a daemon with no memory recognise it as ours?"""

    def netns(self, row: R) -> str:
        """The namespace that a row's lines run in."""
        name: str = getattr(row.key, "netns", "")
        return name

    def ref(self, row: R) -> Ref:
        """The name by which other rows need this one."""
        return Ref(self.name, row.key)

    def needs(self, row: R) -> tuple[Ref, ...]:
        """What must exist before this row can."""
        return ()

    def claims(self, row: R) -> tuple[Claim, ...]:
        """Resources that this row holds alone."""
        return ()

    def shares(self, row: R) -> Key | None:
        """What makes a row take others of its kind along when it dies: of those that share it, one that goes goes before one is made."""
        return None

    def replaces(self, old: R, new: R) -> str | None:
        """Why `old` cannot become `new` in place; None when it can."""
        return None

    def loses(self, old: R, new: R) -> frozenset[str]:
        """Kinds whose rows on this one the kernel destroys when `old` is updated to `new`."""
        return frozenset()

    def without(self, row: R, parent: Ref) -> R | None:
        """What is left of a seen row once something that it needs is gone; None: nothing."""
        return None

    def fresh(self, row: R) -> R | None:
        """The row that a bare create would make: create templates state what differs from it."""
        return None

    def met(self, old: R, new: R) -> R:
        """The seen row as the lines of an update meet it: one may set others back (a device that changes its bridge is a new port)."""
        return old

    def rank_of(self, row: R) -> int:
        """The rank of one row, where it is not its kind's (a sysctl of a link comes after the link)."""
        return self.rank

    def impossible(self, row: R, seen: Seen) -> str:
        """Why this node cannot hold the row (its kernel lacks something), and what to do; empty when it can."""
        return ""

    def waits(self, row: R) -> bool:
        """True for a row that is put in place only once everything else is as it should be."""
        return False

    def resolve(self, rows: Iterable[R], handles: Handles) -> Iterable[R]:
        """The rows with the handles of those they point to filled in; 0 for one that has none."""
        return rows

    def enter(self, stated: Mapping[Key, Any], seen: Sequence[R], before: Mapping[Key, Any] | None) -> Mapping[Key, Any]:
        """The stated rows, each of a type of `compounds` as the rows that it stands for.

        before: what this gave last time, to start from; the very same again where nothing else is stated.
        """
        return stated

    def assign(self, wanted: Iterable[R], seen: Sequence[R]) -> Iterable[R]:
        """The wanted rows with their own handles chosen: the seen one, else a free one."""
        return wanted

    def handles(self, rows: Iterable[R]) -> Mapping[Key, int]:
        """The handles of rows, for kinds that have some."""
        return {}

    def identity(self, row: R) -> int | None:
        """What tells a seen row from another one that took its name since (an interface index)."""
        return None

    def adopts(self, row: R) -> bool:
        """True for a wanted row that may manage a foreign object (`adopt: true`, physical NICs)."""
        return bool(getattr(row, "adopt", False))

    def makes(self, row: R) -> bool:
        """False for a wanted row that is only managed where somebody made it."""
        return not getattr(row, "adopt", False)

    def unwanted(self, row: R, stated: Mapping[Key, Any]) -> str:
        """Why a row of ours goes that is not among those stated; "" where nothing in network.yaml wants it.

        A reason of one's own says that rows of this sort come and go with the cluster's life: no person's word is asked for then.
        """
        return ""

    def staged(self, row: R) -> tuple[StagedFile, ...]:
        """Contents to be written beside their targets before the lines run."""
        return ()

    def normal(self, row: R) -> R:
        """A row as a person stated it, in the form that `observe` gives, with our marks."""
        return row

    def below(self, row: R, root: str) -> R:
        """A row as a person stated it, on a node whose / is the folder `root` (a lab's), for what is found by its path."""
        return row

    def advice(self, row: R, failure: str) -> str:
        """What a person can do about a line of this row that failed with these words, or had NO_EFFECT; empty where they say it all."""
        return ""

    def describe(self, row: R) -> str:
        """A few words that say to a person what the row is; empty where its line says it all."""
        return ""

    # -- derived ---------------------------------------------------------------------------

    def refs(self, rows: Sequence[R]) -> list[Ref]:
        """`ref` of many: a plan has a hundred thousand rows of one kind."""
        if type(self).ref is not Kind.ref:
            return [self.ref(row) for row in rows]
        return list(map(tuple.__new__, repeat(Ref), zip(repeat(self.name), [row.key for row in rows], strict=False)))

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of the compared fields."""
        return fields(self.row)[1 : -self.uncompared]

    def same(self, old: R, new: R) -> bool:
        """Whether a seen row is as wanted."""
        end = -self.uncompared
        return old[1:end] == new[1:end] or not self.differs(old, new)  # type: ignore[index]

    def differs(self, old: R, new: R) -> tuple[str, ...]:
        """The attributes that have to change, dotted where they are nested."""
        found: list[str] = []
        for name in self.attributes:
            found += different(name, getattr(old, name), getattr(new, name))
        return tuple(found)

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """How a line of this kind may begin, each with the blank that ends its last word."""
        return tuple(" ".join(words) + " " for words in self.grammar)

    @property
    def folder(self) -> Path:
        """Where templates, cases and the attribute table of this kind are."""
        import importlib

        module = importlib.import_module(type(self).__module__)
        return Path(str(module.__file__)).parent


def different(name: str, old: Any, new: Any) -> list[str]:
    """Names of the parts in which `new` asks for something that `old` is not."""
    if new is None or old == new:
        return []
    if type(old) is type(new) and hasattr(new, "_fields"):
        return [found for part in new._fields for found in different(f"{name}.{part}", getattr(old, part), getattr(new, part))]
    return [name]


class Kinds(Mapping[str, Kind[Any]]):
    """The kinds in force, by name, in the order of their rank."""

    def __init__(self, kinds: Iterable[Kind[Any]]) -> None:
        ordered = sorted(kinds, key=lambda kind: (kind.rank, kind.name))
        self._by_name = {kind.name: kind for kind in ordered}
        self._by_row = {row: kind for kind in ordered for row in (kind.row, *kind.compounds)}

    def __getitem__(self, name: str) -> Kind[Any]:
        return self._by_name[name]

    def __iter__(self) -> Any:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def of(self, row: Row) -> Kind[Any]:
        """The kind of a row, by its type."""
        return self._by_row[type(row)]
