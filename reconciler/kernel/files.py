"""Files of our own that must not be half written: beside their place, synced, renamed."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

NEW = ".new-"  # how a file that is still being written begins


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole (0600). Raises OSError; nothing is left behind then."""
    write_whole(path, content, 0o600)


def write_whole(path: Path, content: bytes, mode: int, new: str = NEW) -> None:
    """Replace a file as a whole, on the disk before it gets its name; `new`: how it is called until then.

    Raises OSError; nothing is left behind then.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=new)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """The names in a folder on the disk too. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
