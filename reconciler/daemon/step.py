"""What one step of the daemon did, for all who tell of it: status, metrics, log, the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.daemon.repairs import Repair
from reconciler.engine.model import Plan, Ref, Refusal, Seen, Wanted
from reconciler.engine.round import Outcome
from reconciler.intents import Context


class Report(NamedTuple):
    """What one step did. `digest` is of the spec in force; empty: none yet."""

    digest: str
    problems: tuple[str, ...] = ()  # why the newest content is not valid
    suspect: Refusal | None = None  # why valid newest content waits for a person
    content: str = ""  # what would have to be confirmed then
    stale: bool = False  # the content in force was kept on disk
    warnings: tuple[str, ...] = ()
    plans: tuple[Plan, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    errors: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()  # in a dry run: found, and left as they are
    failed: Mapping[Ref, str] = {}  # rows whose lines ran and did not do, with the reason
    undone: frozenset[Ref] = frozenset()  # those of them whose lines did, and that are otherwise again
    converged: bool = False
    wanted: Wanted = Wanted()
    uplink: str = ""
    awaited: bool = False  # something of a pod is still to come, and then there is more to do
    seen: Seen = Seen({})
    context: Context | None = None
    used: frozenset[str] = frozenset()  # confirmations that were acted on
    rolled_back: str = ""  # digest of the newest spec, where it was put in place and undone
