"""Who changed what, from the kernel's notifications since the last round."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.engine.model import Ref
from reconciler.kernel.events import Event


class Doers:
    """Remembers for each row whose event came with a netlink port who that was."""

    def __init__(self, requester: Callable[[int], str], search: Callable[[int], str]) -> None:
        self._requester, self._search = requester, search  # cheap, at once; thorough, when somebody asks
        self._ports: dict[tuple[str, str, int], int] = {}  # kind, what the event calls it, table
        self._names: dict[int, str] = {}

    def note(self, event: Event) -> None:
        """A process may end right after its request, so it is asked for its name at once."""
        if not event.port:
            return
        self._ports[event.what, event.key or event.name, event.table] = event.port
        if event.port not in self._names:
            self._names[event.port] = self._requester(event.port)

    def note_others(self, event: Event) -> None:
        """The same among events that our own tools caused: they have ended, so only who lives is another one."""
        name = self._requester(event.port) if event.port else ""
        if name:
            self._ports[event.what, event.key or event.name, event.table] = event.port
            self._names[event.port] = name

    def who(self, row: Ref) -> str:
        """ "bird (pid 812)"; empty where the kernel did not tell."""
        for (what, name, table), port in self._ports.items():
            if is_about(row, what, name, table):
                return self._names[port] or self._search(port)
        return ""

    def forget(self) -> None:
        self._ports.clear()
        self._names.clear()


def is_about(row: Ref, what: str, name: str, table: int) -> bool:
    """Whether an event that calls a row so is about this one."""
    return row.kind == what and bool(name) and name in map(str, row.key) and (not table or table in row.key)
