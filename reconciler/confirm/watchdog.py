"""The process that undoes a change unless somebody confirms it, whatever becomes of whoever made the change.

It needs the journal and the tools, and no API or daemon; `launch` starts it. After a boot the next start of the
daemon, or of `plumbline apply`, finds a journal of an earlier boot (`resume`): its time is up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from reconciler.confirm.journal import BadJournal, ConfirmFolder, Journal
from reconciler.engine.model import Action, Change, Line, Ref, Verb
from reconciler.kernel.folders import FolderEvents
from reconciler.kernel.tools import run_actions
from reconciler.kernel.writing import anyway

READY = "watching as process "  # and its number: all that it says to whoever started it


class NoWatchdog(Exception):
    """It could not be started: then nothing must run."""


def watch(folder: ConfirmFolder, ready: Callable[[], None] = lambda: None) -> bool:
    """Wait until the change is confirmed, or undo it when its time is up. True when it was undone. Raises BadJournal.

    ready: called once the journal was read.
    """
    with_events = FolderEvents()
    try:
        with_events.watch([str(folder.path)])
        folder.armed()
        ready()
        while (journal := folder.armed()) is not None:
            if journal.left <= 0:
                return undo(folder, "nobody confirmed it in time")
            with_events.wait(min(journal.left, 1.0))
    finally:
        with_events.close()
    return False


def undo(folder: ConfirmFolder, why: str) -> bool:
    """Go the way back now. False where somebody else has decided before. Raises BadJournal."""
    journal = folder.take_back()
    if journal is None:
        return False
    go_back(journal)
    folder.undone(journal, why)
    return True


def resume(folder: ConfirmFolder) -> bool:
    """After a start: end what an earlier one began. True when something was undone. Raises BadJournal."""
    left = folder.interrupted()
    if left is not None:
        go_back(left)
        folder.undone(left, "it was being undone when the power failed")
        return True
    journal = folder.armed()
    return journal is not None and journal.left <= 0 and undo(folder, "the node was started anew before anybody confirmed it")


def go_back(journal: Journal) -> None:
    """Run the lines that undo a change. What the kernel refuses is as it was: the change may have stopped anywhere.

    Whoever hangs in the middle of it is no reason to leave the node cut off.
    """
    change = Change("line", None, None, "")
    actions = [Action(Verb.UPDATE, change, Ref("line", (number,)), (), (Line(*line),)) for number, line in enumerate(journal.undo)]
    for action, failure in zip(actions, run_actions(actions, turn=anyway), strict=True):
        if failure is not None and not failure.ran:  # a line that its tool could not read has ended the batch before it
            run_actions([action], turn=anyway)


def main() -> int:
    """`python -m reconciler.confirm.watchdog FOLDER [NETWORK]`; NETWORK is that of the change, as proc(5) names it."""
    folder, network = ConfirmFolder(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else ""
    here = str(Path("/proc/self/ns/net").readlink())
    if network not in ("", here):
        print(f"the change is in {network}, and this is {here}", flush=True)  # noqa: T201 - to whoever started it
        return 1
    try:
        undone = watch(folder, _ready)
    except BadJournal as error:
        return _say(str(error), 1)
    return _say("nobody confirmed the change in time: it is undone" if undone else "the change was decided on by somebody else", 0)


def _ready() -> None:
    """Whoever started it knows now, and is let go: they may end, and their pipe with them."""
    print(f"{READY}{os.getpid()}", flush=True)  # noqa: T201 - to whoever started it
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _say(text: str, status: int) -> int:
    """To the host's journal, where it is a unit; to nobody elsewhere."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a unit's journal is all there is to talk to
    return status


if __name__ == "__main__":
    sys.exit(main())
