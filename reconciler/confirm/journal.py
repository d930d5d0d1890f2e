"""The way back on disk, and who has decided: the change stays, or it is undone.

One folder, `confirm/` in the state folder:

    armed.json        a change that is on trial: its digest, until when, and the lines that undo it
    kept.json         the last change that was confirmed
    undone.json       the last one that was undone, and how that went
    quarantine.json   digests of each network.yaml that was undone, with the reason

Whoever renames `armed.json` has decided: the rename is atomic, so a confirmation
and a watchdog whose time is up cannot both win.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reconciler.kernel.files import sync_folder, write_private
from reconciler.kernel.folders import FolderEvents

ARMED, KEPT, UNDOING, UNDONE, QUARANTINE = "armed.json", "kept.json", "undoing.json", "undone.json", "quarantine.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BadJournal(Exception):
    """The folder cannot be read or written; names the file and the reason."""


class Journal(NamedTuple):
    """A change on trial. `until` is on CLOCK_BOOTTIME, which goes on through suspend and is nobody's to set."""

    digest: str  # of the network.yaml that asked for the change
    node: str
    until: float  # seconds
    boot: str  # boot_id: after another boot the time is up
    undo: tuple[tuple[str, str], ...]  # (namespace, line), in order
    probes: tuple[str, ...] = ()  # what has to answer, for people

    @property
    def left(self) -> float:
        """Seconds until it is undone; 0 where the time is up."""
        return max(0.0, self.until - time.clock_gettime(time.CLOCK_BOOTTIME)) if self.boot == boot_id() else 0.0


def boot_id() -> str:
    """Another one after each boot; empty where the kernel does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def deadline(seconds: float) -> float:
    """That many seconds from now, on the clock of `Journal.until`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) + seconds


class ConfirmFolder:
    """The folder. Several processes use it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def arm(self, journal: Journal) -> None:
        """The way back on the disk. Raises BadJournal: then nothing must run."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (self.path / ARMED).exists():
                raise BadJournal(
                    f"{self.path / ARMED}: another change is on trial; confirm it (plumbline confirm) or wait until it is undone"
                )
            write_private(self.path / ARMED, json.dumps(journal._asdict(), indent=2, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise BadJournal(f"{self.path / ARMED}: {error.strerror}: without the way back on disk the change is not begun") from None

    def armed(self) -> Journal | None:
        """The change on trial. Raises BadJournal where there is one that cannot be read."""
        return self._read(ARMED)

    def keep(self) -> bool:
        """The change stays. False where it is too late, or nothing is on trial. Raises BadJournal."""
        return self._decide(KEPT)

    def take_back(self) -> Journal | None:
        """The change is undone by whoever gets the journal from here. None where somebody else has decided. Raises BadJournal."""
        return self._read(UNDOING) if self._decide(UNDOING) else None

    def interrupted(self) -> Journal | None:
        """An undoing that was begun and not ended: power failed. Raises BadJournal."""
        return self._read(UNDOING)

    def undone(self, journal: Journal, why: str) -> None:
        """It is: its network.yaml is not tried again until a person lifts that. Raises BadJournal."""
        said = dict(self.quarantine())
        said[journal.digest] = why
        try:
            write_private(self.path / QUARANTINE, json.dumps(said, indent=2, ensure_ascii=False).encode() + b"\n")
            (self.path / UNDOING).replace(self.path / UNDONE)
            sync_folder(self.path)
        except OSError as error:
            raise BadJournal(f"{self.path / QUARANTINE}: {error.strerror}") from None

    def was_undone(self, digest: str) -> bool:
        """Whether what it asked for was undone, or is being. Raises BadJournal."""
        journal = self.interrupted()
        return (journal is not None and journal.digest == digest) or digest in self.quarantine()

    def wait(self, seconds: float) -> None:
        """Until something happens in the folder, or this time has passed."""
        events = FolderEvents()
        try:
            events.watch([str(self.path)])
            events.wait(seconds)
        finally:
            events.close()

    def quarantine(self) -> Mapping[str, str]:
        """Digests of each network.yaml that was undone, and why. Raises BadJournal: an unreadable list is no empty one."""
        path = self.path / QUARANTINE
        try:
            said = json.loads(path.read_bytes())
            return {str(digest): str(why) for digest, why in said.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise BadJournal(f"{path}: cannot be read ({error}); remove it if you know that nothing in it matters") from None

    def lift(self, digest: str) -> bool:
        """A person wants this network.yaml tried again. False where it is not in quarantine. Raises BadJournal."""
        said = dict(self.quarantine())
        if said.pop(digest, None) is None:
            return False
        try:
            write_private(self.path / QUARANTINE, json.dumps(said, indent=2, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise BadJournal(f"{self.path / QUARANTINE}: {error.strerror}") from None
        return True

    def _decide(self, name: str) -> bool:
        try:
            os.rename(self.path / ARMED, self.path / name)
            with suppress(OSError):  # decided it is; a power failure right now would have it decided again
                sync_folder(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise BadJournal(f"{self.path / ARMED}: {error.strerror}") from None
        return True

    def _read(self, name: str) -> Journal | None:
        path = self.path / name
        try:
            said = json.loads(path.read_bytes())
            return Journal(
                str(said["digest"]),
                str(said["node"]),
                float(said["until"]),
                str(said["boot"]),
                tuple((str(netns), str(words)) for netns, words in said["undo"]),
                tuple(str(one) for one in said["probes"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadJournal(f"{path}: cannot be read: {error}") from None
