"""What can be asked of a node, and what of it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

from reconciler.engine.model import Wanted
from reconciler.engine.rows import Rows
from reconciler.wire.bpf import Attached, Pinned, ProgramInfo
from reconciler.wire.bulk import Ages

T = TypeVar("T")


class ObservationFailed(Exception):
    """A question to the node was not answered. Never to be read as "nothing there"."""


class NamespaceGone(ObservationFailed):
    """A pod's namespace went with its pod, or its name stands for another one by now: its rows are nobody's concern any more."""

    def __init__(self, netns: str, what: str = "is gone") -> None:
        self.netns = netns
        super().__init__(f"network namespace {netns} {what}")


class ToolMissing(ObservationFailed):
    """The tool that would answer is not installed on this node."""


class Dump(NamedTuple):
    """A netlink dump request: message type and the fixed header that follows nlmsghdr (rtnetlink(7))."""

    type: int
    body: bytes


class Place(NamedTuple):
    """Where a dump was taken: what its messages need to be read."""

    netns: str
    interfaces: Mapping[int, str]  # index to name


class Reader(Protocol):
    """The questions that a kind may ask. Every method raises ObservationFailed when unanswered."""

    def visit(self, netns: Sequence[str]) -> AbstractContextManager[Mapping[str, str]]:
        """Around all questions of one observation; `netns`: the namespaces other than the node's own.

        Gives those that cannot be asked, each with the reason, "" where it is gone. Nothing that
        was opened for the visit outlives it: it would keep a dead pod's namespace alive.
        """

    def dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        """All messages of a complete dump, as received: buffers of whole netlink messages."""

    def decoded(self, netns: str, request: Dump, decode: Callable[[Place, tuple[bytes, ...]], T]) -> T:
        """`decode(place, dump(...))`, remembered while the dump and the names stay the same to the byte.

        `decode` is a plain function: what it gave last time is kept by its identity.
        """

    def rows(
        self, netns: str, request: Dump, decode: Callable[[Place, Sequence[bytes]], list[T | None]], ages: Ages | None = None
    ) -> list[T]:
        """The rows of a dump of many small messages, in its order.

        `decode` gives for each message (without nlmsghdr, ages blanked) its row, or None for one that is no row. It is
        asked for messages only that were not in the dump before; a dump that did not change at all gives the very list again.
        """

    def nft_dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        """All messages of a complete dump of nftables (nfnetlink): `body` begins with nfgenmsg."""

    def of_ruleset(self, netns: str, what: Hashable, ask: Callable[[], T]) -> T:
        """What `ask` tells of nftables, remembered under `what` for as long as nobody has changed the namespace's ruleset.

        The kernel counts changes (NFT_MSG_GETGEN): one small question in place of `ask`, which may run a tool.
        """

    def interfaces(self, netns: str) -> Mapping[int, str]:
        """Index to name of every interface of a namespace."""

    def tool(self, netns: str, words: Sequence[str]) -> str:
        """What a read-only command prints on standard output."""

    def read(self, netns: str, path: str) -> bytes | None:
        """A file's content as seen from a namespace; None where there is no such file."""

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a folder, sorted; empty where there is no such folder."""

    def on_bpffs(self, path: str) -> bool:
        """Whether a folder lies in a BPF file system."""

    def pinned(self, folder: str) -> Mapping[str, Pinned]:
        """The maps and programs that are pinned in a folder, by name; empty where there is no such folder."""

    def map_rows(
        self,
        paths: Sequence[str],
        decode: Callable[[str, Sequence[bytes], Sequence[bytes | str]], Sequence[T]],
        patience: float,
        programs: Mapping[int, str],
    ) -> Rows:
        """The rows of the entries of pinned maps, each under its key; the very same that it gave before while nothing changed.

        `decode` is a plain function that gives a row for each of the entries of a map (path, keys, values): what it gave is
        kept by its identity. The kernel tells of no change: a whole look at a large map holds for `patience` seconds, in
        which only what this node wrote is read again. `programs`, ids and where these are pinned: as what values of
        program arrays are told; a value without a pin is the four bytes of its id.
        """

    def attached(self, cgroup: str, hooks: Sequence[str]) -> Sequence[Attached]:
        """The programs that are attached to each hook of a cgroup itself; none where there is no such cgroup."""

    def cgroups(self) -> tuple[str, ...]:
        """Every cgroup of version 2."""

    def program(self, number: int) -> ProgramInfo | None:
        """A program by its id; None where this process may not ask for it."""


class Scope(NamedTuple):
    """What to observe: the namespaces, and what the spec names where not all can be listed."""

    netns: tuple[str, ...]  # "" is the node's own
    wanted: Wanted
    root: str = ""  # folder that stands for / in `file` rows (a lab's node); empty on a real one

    def without(self, netns: Container[str]) -> Scope:
        """The part of it that lies in other namespaces."""
        return self._replace(netns=tuple(name for name in self.netns if name not in netns), wanted=self.wanted.without(netns))


def scope_of(wanted: Wanted, root: str = "", also: Iterable[str] = ()) -> Scope:
    """The node's own namespace, those that wanted rows lie in, and others that may hold what nobody wants any more."""
    named = {getattr(key, "netns", "") for kind in wanted.kinds() for key in wanted.of(kind)}
    return Scope(("", *sorted({*named, *also} - {""})), wanted, root)
