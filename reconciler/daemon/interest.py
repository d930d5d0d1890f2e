"""Which of the kernel's events concern us: what we manage, and what our facts of the host were read from."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Wanted
from reconciler.kernel.events import Event
from reconciler.kinds.marks import GROUP, PROTOCOL
from reconciler.kinds.nexthop import BASE

DEFAULTS = frozenset({"0.0.0.0/0", "::/0"})


class Interest:
    """Made from what a node should hold; `see` tells it the interfaces of the moment.

    A pod's veth that comes and goes, a neighbour that the kernel learns, somebody
    else's route: none of them is ours to wake up for.
    """

    def __init__(self, kinds: Kinds, wanted: Wanted, uplink: str, *, blind: bool) -> None:
        self._links = _links(kinds, wanted) | ({uplink} if uplink else set())
        self._blind = blind  # which interface is the uplink is still to be found out
        self._peers = {what: {(key[1], key[2]) for key in wanted.of(what)} for what in ("neighbour", "fdb")}  # device, address or MAC
        self._routes = {(key[1], key[2]) for key in wanted.of("route")}  # table, prefix
        self._rules = {str(key[2]) for key in wanted.of("rule")}  # priority
        self._names: Mapping[int, str] = {}

    def see(self, interfaces: Mapping[int, str]) -> None:
        """Index to name, as they are now."""
        self._names = {index: name for index, name in interfaces.items() if name in self._links}

    def __call__(self, event: Event) -> bool:
        match event.what:
            case "link":
                return self._blind or event.group == GROUP or event.name in self._links or event.interface in self._names
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
            case _:
                return True


def _links(kinds: Kinds, wanted: Wanted) -> set[str]:
    """The interfaces that wanted rows are, or need. The last part of a link's key is its name."""
    names = {key[-1] for key in wanted.of("link")}
    for kind in wanted.kinds():
        for row in wanted.rows(kind):
            names |= {need.key[-1] for need in kinds[kind].needs(row) if need.kind == "link"}
    return names
