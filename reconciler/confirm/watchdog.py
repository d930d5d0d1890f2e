"""The process that undoes a change unless somebody confirms it, whatever becomes of whoever made the change.

It needs the journal and the tools, and no API, image or daemon. Where the host's init
is systemd it is a transient unit of that, for in a pod everything ends with process 1;
elsewhere it is a process of a session of its own. After a boot, `plumbline watchdog`
(the daemon does so when it starts) finds a journal of an earlier boot: its time is up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reconciler.confirm.journal import BadJournal, ConfirmFolder, Journal
from reconciler.engine.model import Action, Change, Line, Ref, Verb
from reconciler.kernel.folders import FolderEvents
from reconciler.kernel.tools import run_actions

SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)


class NoWatchdog(Exception):
    """It could not be started: then nothing must run."""


def start(folder: Path) -> int:
    """Start one for what is armed in the folder; its process id, 0 where init has it. Raises NoWatchdog."""
    command = [sys.executable, "-m", "reconciler.confirm.watchdog", str(folder)]
    try:
        if SYSTEMD.is_dir() and _same_network_as_init():
            unit = [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit=plumbline-watchdog-{os.getpid()}",
                "--setenv=PYTHONPATH",
                "--",
                *command,
            ]
            if subprocess.run(unit, capture_output=True, check=False).returncode == 0:
                return 0
        with subprocess.Popen(
            [sys.executable, "-c", _SESSION, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as started:
            said = started.stdout.readline() if started.stdout else b""
            return int(said)
    except (OSError, ValueError) as error:
        raise NoWatchdog(f"the watchdog that would undo the change cannot be started: {error}") from None


def _same_network_as_init() -> bool:
    """False in a lab's node, and in a pod that does not see the host's processes."""
    try:
        return Path("/proc/1/ns/net").samefile("/proc/thread-self/ns/net")
    except OSError:
        return False


# Forked twice and in a session of its own: no signal to our group and no end of ours reaches it.
_SESSION = """
import os, subprocess, sys
if os.fork():
    os.wait()
    sys.exit()
os.setsid()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
print(child.pid, flush=True)
os._exit(0)
"""


def watch(folder: ConfirmFolder) -> bool:
    """Wait until the change is confirmed, or undo it when its time is up. True when it was undone. Raises BadJournal."""
    with_events = FolderEvents()
    try:
        with_events.watch([str(folder.path)])
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
    """Run the lines that undo a change. What the kernel refuses is as it was: the change may have stopped anywhere."""
    change = Change("line", None, None, "")
    actions = [Action(Verb.UPDATE, change, Ref("line", (number,)), (), (Line(*line),)) for number, line in enumerate(journal.undo)]
    for action, failure in zip(actions, run_actions(actions), strict=True):
        if failure is not None and not failure.ran:  # a line that its tool could not read has ended the batch before it
            run_actions([action])


def main() -> int:
    """`python -m reconciler.confirm.watchdog FOLDER`."""
    folder = ConfirmFolder(Path(sys.argv[1]))
    try:
        watch(folder)
    except BadJournal as error:
        print(error, file=sys.stderr)  # noqa: T201 - a unit's journal is all there is to talk to
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
