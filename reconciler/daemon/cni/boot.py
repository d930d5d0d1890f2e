"""Whether this node's network has been whole since it booted: before that no pod may start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Absent, Ref
from reconciler.engine.reader import scope_of
from reconciler.engine.round import Node as NodeIO
from reconciler.engine.round import Round
from reconciler.intents import Context
from reconciler.kernel.files import write_private
from reconciler.kinds.file import file

FILE = "settled"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)


class Boot:
    """One answer for the life of a daemon: no, until a round has converged; kept for the next daemon of the same boot.

    Without a folder to keep it in, a restart must not look like a boot: then it is always yes.
    """

    def __init__(self, folder: Path | None, problem: Callable[[str], None] = lambda problem: None) -> None:
        self._file, self._problem = folder / FILE if folder else None, problem
        self._boot = _text(BOOT_ID)
        self.settled = self._file is None or not self._boot or _text(self._file) == self._boot

    def carry_over(self, context: Context | None, root: str) -> None:
        """The version before kept no record. A file of this boot that it wrote says as much: an upgrade must not take it back."""
        cni = context.spec.cni if context is not None else None
        if self.settled or cni is None or self._file is None or self._file.exists():
            return
        try:
            written = Path(f"{root}{cni.conf_dir}/{cni.file}").stat().st_mtime
        except OSError:
            return
        if written > time.time() - time.clock_gettime(time.CLOCK_BOOTTIME):
            self.settle()

    def take_back(self, io: NodeIO, kinds: Kinds, context: Context | None, root: str) -> None:
        """The file that the last boot has left, where nothing else can be done yet: it tells the runtime that it may start pods."""
        self.carry_over(context, root)
        cni = context.spec.cni if context is not None else None
        if self.settled or cni is None:
            return
        left = file(f"{cni.conf_dir}/{cni.file}", "", root=root)
        files = Kinds([kinds["file"]])
        wanted, _ = merge(files, [Absent(left, "the network is not whole since boot")])
        this = Ref("file", left.key)
        Round(io, files).converge(scope_of(wanted, root), hold=lambda action: "" if action.ref == this else "the rest is still to come")

    def settle(self) -> bool:
        """A round has converged. True the first time since boot."""
        if self.settled:
            return False
        self.settled = True
        if self._file is not None:
            try:
                write_private(self._file, f"{self._boot}\n".encode())
            except OSError as error:
                self._problem(f"{self._file}: {error.strerror}; a restart of the daemon takes the CNI file back for a moment")
        return True


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
