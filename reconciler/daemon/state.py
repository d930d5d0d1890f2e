"""What the daemon keeps on disk: the content that was last good, and what waits for a person's word.

A folder of its own (0700), files 0600, each written beside its place, synced and
renamed. Nothing in it is needed to know what is ours: without it the daemon works
all the same, and says what it cannot keep.

    last-good         content that was valid and in force: one line of header, then the content itself
    pending.json      what was refused until somebody confirms its digest; the daemon writes it
    confirm-DIGEST    somebody's word; `plumbline confirm` writes it, the daemon uses it up
    lock              held while a daemon uses the folder
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from reconciler.kernel.files import NEW, write_private

FOLDER = "/var/lib/plumbline"
VERSION = 1
MAX_BYTES = 256 << 20
LAST_GOOD, PENDING, CONFIRM, LOCK = "last-good", "pending.json", "confirm-", "lock"
_FLOCK = struct.Struct("=hhxxxxqqixxxx")  # struct flock of 64-bit systems: type, whence, start, length, pid (fcntl(2))


class StateBusy(Exception):
    """Another daemon uses the folder; says what to do."""


class BadState(Exception):
    """Something in the folder cannot be read or trusted; names the file and the reason."""


class Kept(NamedTuple):
    """Content as it was kept."""

    saved: float  # seconds since the epoch
    body: bytes


class Waiting(NamedTuple):
    """Something that was refused until its digest is confirmed."""

    digest: str
    what: str  # "content" | "plan"
    reason: str


class StateFolder:
    """The folder as one daemon uses it. Its methods never raise for a disk that does not do: `problems` says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problems: dict[str, str] = {}
        self._kept = ""  # digest of the body that is on disk
        self._pending: tuple[Waiting, ...] | None = None
        self._lock = -1

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not work now, each with the file and the reason."""
        return tuple(self._problems.values())

    def open(self) -> None:
        """Make the folder and hold it. Raises StateBusy."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.fcntl(self._lock, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
            for left in self.path.glob(f"{NEW}*"):
                left.unlink()  # of one that was killed while it wrote
        except BlockingIOError:
            self.close()
            raise StateBusy(
                f"another plumbline daemon uses {self.path}: two would overwrite what the other keeps; give this one its own with --state"
            ) from None
        except OSError as error:
            self._note("folder", f"{self.path}: {error.strerror}; nothing is kept for a restart without content")

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def load(self) -> Kept | None:
        """The content that was last good; None where none was kept, or (a problem) where it cannot be trusted."""
        try:
            kept = read_kept(self.path / LAST_GOOD)
        except BadState as error:
            self._note("load", f"{error}; it is not used, and replaced by the next good content")
            return None
        if kept is not None:
            self._kept = hashlib.sha256(kept.body).hexdigest()
        return kept

    def reject(self, why: str) -> None:
        """What was loaded is of no use."""
        self._note("load", f"{self.path / LAST_GOOD}: {why}; it is not used, and replaced by the next good content")
        self._kept = ""

    def save(self, body: bytes, now: float) -> bool:
        """Keep content; False when that was not possible. The same content again writes nothing."""
        digest = hashlib.sha256(body).hexdigest()
        if digest == self._kept:
            return True
        header = json.dumps({"plumbline": LAST_GOOD, "version": VERSION, "saved": now, "sha256": digest})
        if not self._write(LAST_GOOD, header.encode() + b"\n" + body):
            return False
        self._kept = digest
        self._problems.pop("load", None)
        return True

    def wait(self, waiting: Iterable[Waiting]) -> None:
        """Say what waits for a confirmation, for `plumbline confirm` to read."""
        pending = tuple(waiting)
        if pending == self._pending:
            return
        document = {"version": VERSION, "waiting": [one._asdict() for one in pending]}
        if self._write(PENDING, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"):
            self._pending = pending

    def confirmed(self) -> frozenset[str]:
        """The digests that somebody confirmed and that are not used up."""
        try:
            names = os.listdir(self.path)
        except OSError as error:
            if "folder" not in self._problems:
                self._note("confirm", f"{self.path}: {error.strerror}; a confirmation cannot be heard")
            return frozenset()
        self._problems.pop("confirm", None)
        return frozenset(name.removeprefix(CONFIRM) for name in names if name.startswith(CONFIRM))

    def use_up(self, digests: Iterable[str]) -> None:
        """These count no more."""
        for digest in digests:
            try:
                os.unlink(self.path / f"{CONFIRM}{digest}")
            except FileNotFoundError:
                continue
            except OSError as error:
                self._note("confirm", f"{self.path / CONFIRM}{digest}: {error.strerror}; remove it, for it counts as a confirmation")

    def _write(self, name: str, content: bytes) -> bool:
        try:
            write_private(self.path / name, content)
        except OSError as error:
            self._note(name, f"{self.path / name}: {error.strerror}; what is there stays as it was")
            return False
        self._problems.pop(name, None)
        return True

    def _note(self, about: str, problem: str) -> None:
        self._problems[about] = problem


def read_kept(path: Path) -> Kept | None:
    """The content that a file keeps; None where there is no such file. Raises BadState."""
    try:
        with path.open("rb") as stream:
            header, body = stream.readline(4096), stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadState(f"{path}: cannot be read: {error.strerror}") from None
    try:
        said = json.loads(header)
        version, digest, saved = said["version"], said["sha256"], float(said["saved"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadState(f"{path}: is damaged: its first line is not the header that plumbline writes") from None
    if version != VERSION:
        raise BadState(f"{path}: was written by another version of plumbline (format {version}, this one reads {VERSION})")
    if len(body) > MAX_BYTES or hashlib.sha256(body).hexdigest() != digest:
        raise BadState(f"{path}: is damaged: its content does not have the digest that its header says")
    return Kept(saved, body)


def read_waiting(folder: Path) -> tuple[Waiting, ...]:
    """What a daemon said waits for a confirmation. Raises BadState; FileNotFoundError where no daemon ever said."""
    path = folder / PENDING
    try:
        document = json.loads(path.read_bytes())
        return tuple(Waiting(str(one["digest"]), str(one["what"]), str(one["reason"])) for one in document["waiting"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadState(f"{path}: is damaged; the daemon writes it anew at its next start") from None


def in_use(folder: Path) -> bool:
    """Whether a daemon holds the folder."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    finally:
        os.close(handle)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def leave_confirmation(folder: Path, digest: str) -> None:
    """Leave a confirmation for the daemon. Raises OSError."""
    write_private(folder / f"{CONFIRM}{digest}", b"")
