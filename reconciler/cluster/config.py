"""network.yaml and facts where Kubernetes puts them: the folder of a mounted ConfigMap, or plain files.

The kubelet swaps the whole content by renaming `..data`; the folder is watched
and never a file in it (a `subPath` mount never changes). Links may be there
before their data, and a file may be missing for a moment while an editor
replaces it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

SUFFIXES = (".yaml", ".yml", ".json")
POLL = 2.0  # seconds between looks (a stat per file) for file systems that send no events, and changes before a watch began
GRACE = 2.0  # seconds that a path may be missing before that counts as its content
_SETTLE, _AT_MOST = 0.01, 0.5  # seconds: a change is reported after a pause of this, or after this at most


class Content(NamedTuple):
    """What the watched paths hold, told apart by one digest."""

    digest: str  # sha256 over names and bytes
    missing: tuple[str, ...]  # paths that hold nothing that could be read, each with the reason


class _Stamp(NamedTuple):
    """Cheap to take, and different whenever the bytes may be."""

    path: str
    inode: int
    size: int
    changed: int  # nanoseconds


def files_of(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or a folder's *.yaml, *.yml and *.json, without hidden ones."""
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and not one.name.startswith("."))


def read_content(paths: Iterable[Path]) -> Content:
    """One digest over all files of all paths. What cannot be read is named and does not raise."""
    total = hashlib.sha256()
    missing: list[str] = []
    for path in paths:
        try:
            files = files_of(path)
            if not files:
                missing.append(f"{path}: holds no *.yaml, *.yml or *.json file")
            for file in files:
                data = file.read_bytes()
                total.update(f"{file} {len(data)}\n".encode() + data)
        except OSError as error:
            missing.append(f"{error.filename or path}: {error.strerror}")
    return Content(total.hexdigest(), tuple(missing))


def _stamps(paths: Iterable[Path]) -> tuple[_Stamp, ...]:
    found: list[_Stamp] = []
    for path in paths:
        try:
            for file in files_of(path):
                status = os.stat(file)
                found.append(_Stamp(str(file), status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append(_Stamp(str(path), 0, -1, 0))
    return tuple(found)


class Folders(Protocol):
    """Whatever wakes when something in watched folders changes."""

    def watch(self, folders: Iterable[str]) -> bool: ...
    def wait(self, seconds: float) -> bool: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class ConfigWatch:
    """Calls `changed` from a thread of its own whenever the content is another one than before.

    start() takes the present content as the one that is known. `folders` is closed with the watch.
    """

    def __init__(
        self, paths: Iterable[Path], changed: Callable[[], None], folders: Folders, *, poll: float = POLL, grace: float = GRACE
    ) -> None:
        self._paths = tuple(paths)
        self._changed, self._events = changed, folders
        self._poll, self._grace = poll, grace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="config-watch", daemon=True)
        self._stamps: tuple[_Stamp, ...] = ()
        self._content = Content("", ())

    def start(self) -> Content:
        self._stamps = _stamps(self._paths)
        self._content = read_content(self._paths)
        self._thread.start()
        return self._content

    def stop(self) -> None:
        self._stop.set()
        self._events.wake()
        if self._thread.is_alive():  # it may never have been started
            self._thread.join(timeout=1)
        if not self._thread.is_alive():
            self._events.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._events.watch(_folders(self._paths))
            self._look()  # what changed before the watch stood
            if self._events.wait(self._poll):
                self._settle()

    def _settle(self) -> None:
        """Let whoever writes come to an end: until nothing happens for a moment, but not for ever."""
        end = time.monotonic() + _AT_MOST
        while not self._stop.is_set() and time.monotonic() < end and self._events.wait(_SETTLE):
            pass

    def _look(self) -> None:
        """Compare; a path that is missing gets some time to come back."""
        stamps = _stamps(self._paths)
        if stamps == self._stamps:
            return
        content = read_content(self._paths)
        deadline = time.monotonic() + self._grace
        while content.missing and content != self._content and time.monotonic() < deadline:
            if self._stop.wait(0.05):
                return
            stamps = _stamps(self._paths)
            content = read_content(self._paths)
        self._stamps = stamps
        if content != self._content:
            self._content = content
            self._changed()


def _folders(paths: Iterable[Path]) -> list[str]:
    """The folders to watch, those that are there: for a file the one that it is in."""
    return sorted({os.path.realpath(folder) for path in paths if (folder := path if path.is_dir() else path.parent).is_dir()})
