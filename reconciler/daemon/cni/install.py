"""The CNI plugin onto the host: whole or not at all, and never in the place of somebody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import reconciler
from reconciler.kernel.files import NEW, sync_folder, write_whole

NAME = "plumbline"
BUILT = Path(reconciler.__file__).parent / "cni" / NAME
MARK = b"plumbline.dev/cni-plugin: for container runtimes to run\0"  # stands in every build of cni/plumbline.c
_HALF = f"{NEW}{NAME}-"


class NotThere(Exception):
    """This plumbline came without its plugin; says how to build it."""


class NotOurs(Exception):
    """Something else has the plugin's name; says what to do."""


def install(folder: Path) -> str:
    """What was done. A runtime that starts the plugin meanwhile runs the old one or the new one. Raises NotThere, NotOurs, OSError."""
    try:
        built = BUILT.read_bytes()
    except FileNotFoundError:
        raise NotThere(f"{BUILT}: this plumbline came without its CNI plugin; build it with: make cni") from None
    target = folder / NAME
    found = _found(target)
    if found == built and os.stat(target).st_mode & 0o777 == 0o755:
        return f"{target} is this one already"
    for left in folder.glob(f"{_HALF}*"):
        left.unlink()  # of one that was killed while it wrote
    write_whole(target, built, 0o755, _HALF)
    return f"{target}: {'replaced an older one' if found is not None else 'installed'}"


def uninstall(folder: Path) -> str:
    """What was done. Raises NotOurs, OSError."""
    target = folder / NAME
    if _found(target) is None:
        return f"{target} is not there"
    target.unlink()
    sync_folder(folder)
    return f"{target}: removed"


def _found(target: Path) -> bytes | None:
    """A plugin of ours, whatever its version; None where nothing has the name. Raises NotOurs, OSError."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return None
    content = target.read_bytes() if stat.S_ISREG(mode) else b""
    if MARK not in content:
        raise NotOurs(f"{target}: is no CNI plugin of plumbline's, and stays as it is; find out whose it is, and move it away")
    return content
