"""Changes that can cut this node off, as `apply` runs them and `confirm` decides them."""

from __future__ import annotations

import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.inputs import Inputs, host_now
from reconciler.cli.plans import REFUSED
from reconciler.cli.trouble import CannotGoOn
from reconciler.report import screen

if TYPE_CHECKING:
    from reconciler.confirm.commit import Trial

LOOK = 0.5  # seconds between two looks whether somebody else has decided


def trial_of(inputs: Inputs, node: str, root: str, state: Path, person: float | None) -> Trial:
    """The trial of this network.yaml. person: seconds that somebody has to confirm it. Raises CannotGoOn where it was undone before."""
    from reconciler.confirm.journal import BadJournal
    from reconciler.confirm.trials import Trials
    from reconciler.confirm.watchdog import NoWatchdog
    from reconciler.kinds import all_kinds

    trials = Trials(state, all_kinds())
    try:
        trials.resume()
    except (BadJournal, NoWatchdog) as error:
        raise CannotGoOn([str(error)]) from None
    digest = inputs.loaded.digest
    why = trials.undone(digest)
    if why:
        retry = f"plumbline confirm {digest}"
        raise CannotGoOn([f"this network.yaml was put in place and undone: {why}; change it, or have it tried again: {retry}"], REFUSED)
    return trials.of(digest, node, inputs.loaded.spec.confirm, inputs.facts, lambda: host_now(inputs, node, root), person=person or 0.0)


def decided(node: str, trial: Trial) -> int:
    """Keep the change or have it undone. 0 where it stays."""
    from reconciler.confirm.journal import BadJournal

    screen.write(f"{node}: on trial; what undoes it is {trial.watch}")
    try:
        why = _by_person(trial) if trial.person else trial.decide()
    except BadJournal as error:
        raise CannotGoOn([str(error)]) from None
    if why:
        screen.errors([f"undone: {why}"])
        return 1
    screen.write(f"{node}: {'confirmed' if trial.person else 'what answered before answers again'}, the change stays")
    return 0


def _by_person(trial: Trial) -> str:
    """Wait for somebody's word: here, or by `plumbline confirm` elsewhere. Why it was undone; empty where it stays."""
    try:
        screen.write(f"confirm it within {trial.left:.0f} s, or it is undone: plumbline confirm {trial.digest}")
        if sys.stdin.isatty():
            screen.write("or say here: keep it? [y/N]")
        while trial.left > 0 and trial.open:
            if sys.stdin.isatty() and select.select([sys.stdin], [], [], LOOK)[0]:
                return trial.keep() if sys.stdin.readline().strip().lower() in ("y", "yes") else trial.undo("you said no")
            if not sys.stdin.isatty():
                trial.wait(LOOK)
    except KeyboardInterrupt:
        return trial.undo("you stopped it")
    return trial.outcome()
