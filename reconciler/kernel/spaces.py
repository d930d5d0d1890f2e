"""The pods' namespaces: looked into for as long as one observation takes, and written to only while they are the same ones.

An open socket keeps a dead pod's namespace alive, with its veth and VXLAN devices, so
none outlives the observation that it was opened for. A namespace is known by device and
inode: a name or a path may stand for another one by now.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from reconciler.engine.reader import NamespaceGone, ObservationFailed
from reconciler.kernel.netlink import RouteSocket
from reconciler.kernel.netns import Identity, change_to, inside, opened, path_of
from reconciler.kernel.nfnetlink import NetfilterSocket

T = TypeVar("T")

SPARE_FILES = 256  # descriptors that everything else in this process may need


class Spaces:
    """What this process knows of namespaces other than its own."""

    def __init__(self) -> None:
        self._known: dict[str, Identity] = {}  # as last looked into
        self._sockets: dict[str, RouteSocket] = {}
        self._filters: dict[str, NetfilterSocket] = {}
        self._interfaces: dict[str, Mapping[int, str]] = {}
        self._visiting = False

    @contextmanager
    def visit(self, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Around all questions of one observation.

        Yields the namespaces that cannot be asked, each with the reason, "" where it is gone.
        """
        absent: dict[str, str] = {}
        self._visiting = True
        try:
            if names:
                _allow_files(2 * len(names))
                with ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns") as pool:
                    absent = pool.submit(self._open, names).result()
            yield absent
        finally:
            for held in (*self._sockets.values(), *self._filters.values()):
                held.close()
            self._sockets.clear()
            self._filters.clear()
            self._interfaces.clear()
            self._visiting = False

    def _open(self, names: Sequence[str]) -> dict[str, str]:
        """One thread walks through all of them: no process, and one way home."""
        absent: dict[str, str] = {}
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for name in names:
                try:
                    with opened(name) as (descriptor, self._known[name]):
                        change_to(descriptor)
                    self._sockets[name] = RouteSocket()
                    with suppress(ObservationFailed):  # a kernel without netfilter; whoever asks is told
                        self._filters[name] = NetfilterSocket()
                except NamespaceGone:
                    absent[name] = ""
                except (OSError, ObservationFailed) as error:
                    absent[name] = (error.strerror if isinstance(error, OSError) else "") or str(error)
        finally:
            change_to(home)
            os.close(home)
        return absent

    def socket(self, name: str) -> RouteSocket | None:
        """The one of the visit that goes on; None outside of one."""
        return self._sockets.get(name)

    def netfilter(self, name: str) -> NetfilterSocket | None:
        """The one of the visit that goes on; None outside of one."""
        return self._filters.get(name)

    def interfaces(self, name: str, ask: Callable[[], Mapping[int, str]]) -> Mapping[int, str]:
        """Asked once in a visit: every kind needs the names, and a thousand pods have seven kinds each."""
        found = self._interfaces.get(name)
        if found is None:
            found = ask()
            if name in self._sockets or (self._visiting and not name):
                self._interfaces[name] = found
        return found

    def known(self, name: str) -> Identity | None:
        """What a namespace was known by when it was last looked into; None: never."""
        return self._known.get(name)

    def inside(self, name: str, call: Callable[[], T]) -> T:
        """What `call` returns, run by a thread inside the namespace that was looked into. Raises NamespaceGone, ObservationFailed."""
        return inside(name, call, self.known(name))

    def close(self, name: str) -> None:
        """Its sockets answer no more questions: something unread may be left in them."""
        for held in (self._sockets.pop(name, None), self._filters.pop(name, None)):
            if held is not None:
                held.close()

    def forget_gone(self) -> frozenset[str]:
        """Drop what is known of namespaces that nothing stands for any more; which these were."""
        gone = frozenset(name for name in self._known if not Path(path_of(name)).exists())
        for name in gone:
            del self._known[name]
        return gone


def _allow_files(count: int) -> None:
    """Two sockets for each namespace may be more than a shell's soft limit of 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard))
