"""Which of the kernel's events concern us: what we manage, and what our facts of the host were read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from reconciler.daemon.doers import Doers, is_about
from reconciler.engine.kind import Kinds
from reconciler.engine.model import Ref, Wanted
from reconciler.kernel.events import Event
from reconciler.kinds.marks import GROUP, PROTOCOL
from reconciler.kinds.nexthop import BASE
from reconciler.kinds.nft.row import own_table

DEFAULTS = frozenset({"0.0.0.0/0", "::/0"})


class Interest:
    """Made from what a node should hold; `see` tells it the interfaces of the moment.

    A pod's veth that comes and goes, a neighbour that the kernel learns, somebody
    else's route: none of them is ours to wake up for.
    """

    def __init__(self, kinds: Kinds, wanted: Wanted, uplink: str, *, blind: bool, patterns: Sequence[str] = ()) -> None:
        self._patterns = patterns  # of devices' names: one that comes and matches is to be made use of
        self._links = _links(kinds, wanted) | ({uplink} if uplink else set())
        self._blind = blind  # which interface is the uplink is still to be found out
        self._peers = {what: {(key[1], key[2]) for key in wanted.of(what)} for what in ("neighbour", "fdb")}  # device, address or MAC
        self._routes = {(key[1], key[2]) for key in wanted.of("route")}  # table, prefix
        self._rules = {str(key[2]) for key in wanted.of("rule")}  # priority
        self._chains = {(key[2], key[3]) for key in wanted.of("nft_rule")}  # table, chain
        self._names: Mapping[int, str] = {}

    def see(self, interfaces: Mapping[int, str]) -> None:
        """Index to name, as they are now."""
        self._names = {index: name for index, name in interfaces.items() if name in self._links}

    def __call__(self, event: Event) -> bool:
        match event.what:
            case "link":
                ours = event.group == GROUP or event.name in self._links or event.interface in self._names
                return self._blind or ours or any(fnmatchcase(event.name, one) for one in self._patterns)
            case "address":
                return self._blind or event.interface in self._names
            case "neighbour" | "fdb":
                name = self._names.get(event.interface)
                return name is not None and (event.lasting or (name, event.key) in self._peers[event.what])
            case "route":
                known = event.protocol == PROTOCOL or event.key in DEFAULTS or (event.table, event.key) in self._routes
                return event.lasting and known
            case "rule":
                return event.protocol == PROTOCOL or event.key in self._rules
            case "nexthop":
                return event.protocol == PROTOCOL or event.interface in self._names or int(event.key) & 0xFF000000 == BASE
            case "nft" | "nft_element":
                return own_table(event.key)
            case "nft_rule":
                return (event.key, event.name) in self._chains
            case _:
                return True


def _links(kinds: Kinds, wanted: Wanted) -> set[str]:
    """The interfaces that wanted rows are, or need. The last part of a link's key is its name."""
    names = {key[-1] for key in wanted.of("link")}
    for kind in wanted.kinds():
        needed = {id(needs): needs for needs in map(kinds[kind].needs, wanted.rows(kind))}  # thousands of rows share what they need
        names |= {need.key[-1] for needs in needed.values() for need in needs if need.kind == "link"}
    return names


class Listening:
    """Tells of each event whether it is worth a round, and remembers who caused it."""

    def __init__(self, interest: Interest, doers: Doers) -> None:
        self._interest, self._doers = interest, doers
        self.wanted = Wanted()
        self._fought: dict[tuple[str, str], list[Ref]] = {}
        self._failed: dict[tuple[str, str], list[Ref]] = {}
        self._touched: set[Ref] = set()
        self._again: set[Ref] = set()

    def to(self, interest: Interest, wanted: Wanted) -> None:
        """Something else is wanted from here on."""
        self._interest, self.wanted = interest, wanted

    def see(self, interfaces: Mapping[int, str]) -> None:
        self._interest.see(interfaces)

    def expect(self, fought: Iterable[Ref], failed: Iterable[Ref]) -> None:
        """Rows that are left alone in a fight: what happens to them is not worth a round. Rows that failed: it is worth another try."""
        self._fought, self._failed = _by_word(fought), _by_word(failed)

    def touched(self) -> set[Ref]:
        """Failed rows that something happened to since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def again(self) -> set[Ref]:
        """Rows in a fight that something happened to since the last call: worth a round once they have rested."""
        again, self._again = self._again, set()
        return again

    def __call__(self, event: Event) -> bool:
        if not self._interest(event):
            return False
        self._doers.note(event)
        self._touched.update(_about(self._failed, event))
        fought = _about(self._fought, event)
        self._again.update(fought)
        return not fought

    def meanwhile(self, event: Event) -> bool:
        """For events that came while our own lines ran: the observation that follows is worth more, but for who else was at it."""
        if self._interest(event):
            self._doers.note_others(event)
        return False


def _by_word(rows: Iterable[Ref]) -> dict[tuple[str, str], list[Ref]]:
    """Kind and each part of the key → rows, for a look-up per event."""
    found: dict[tuple[str, str], list[Ref]] = {}
    for row in rows:
        for part in row.key:
            found.setdefault((row.kind, str(part)), []).append(row)
    return found


def _about(rows: Mapping[tuple[str, str], list[Ref]], event: Event) -> list[Ref]:
    name = event.key or event.name
    return [row for row in rows.get((event.what, name), ()) if is_about(row, event.what, name, event.table)]
