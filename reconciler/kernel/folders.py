"""Folders whose changes wake us: inotify(7), which costs nothing while nothing changes."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterable
from contextlib import suppress

# include/uapi/linux/inotify.h
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
IN_ONLYDIR = 0x01000000
_CHANGES = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
_BUFFER = 1 << 16  # bytes


class FolderEvents:
    """One inotify descriptor. Without one (limits of the host) `wait` is a mere pause: who asks looks by itself.

    Owned by one thread; `wake` may come from any.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watched: dict[int, str] = {}

    def fileno(self) -> int:
        """Readable once something changed; -1 where there is no inotify."""
        return self._inotify

    def watch(self, folders: Iterable[str]) -> bool:
        """Watch exactly these folders, not what is below them. False when one of them cannot be.

        A folder that was removed and made anew is watched anew: the kernel knows it by its inode.
        """
        if self._inotify < 0:
            return False
        found = {self._libc.inotify_add_watch(self._inotify, os.fsencode(folder), _CHANGES | IN_ONLYDIR): folder for folder in folders}
        complete = found.pop(-1, None) is None
        for stale in self._watched.keys() - found.keys():
            self._libc.inotify_rm_watch(self._inotify, stale)
        self._watched = found
        return complete

    def drain(self) -> None:
        """Take what is there; what it was does not matter, for whoever is woken looks."""
        for descriptor in (self._inotify, self._wake):
            with suppress(BlockingIOError, OSError):
                while os.read(descriptor, _BUFFER):
                    if descriptor == self._wake:
                        break

    def wait(self, seconds: float) -> bool:
        """True when something changed, or `wake` was called, within this time."""
        poller = select.poll()
        for descriptor in (self._inotify, self._wake):
            if descriptor >= 0:
                poller.register(descriptor, select.POLLIN)
        woken = bool(poller.poll(seconds * 1000))
        self.drain()
        return woken

    def wake(self) -> None:
        """End a `wait` in another thread."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        for descriptor in (self._inotify, self._wake):
            if descriptor >= 0:
                os.close(descriptor)
        self._inotify = self._wake = -1
