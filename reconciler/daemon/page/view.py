"""What the page at / shows besides /status: the plan's lines, and the content in force as lists. Swapped whole after each round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from reconciler.daemon.page.counts import with_counts
from reconciler.daemon.page.lists import BadQuery, Lists, parse_query
from reconciler.daemon.service_metrics import table_of
from reconciler.daemon.status import rfc3339
from reconciler.daemon.step import Report
from reconciler.engine.model import Plan
from reconciler.engine.text import Printed, counts, length, printed, visible
from reconciler.kinds.bpf_map_entry.services import ServiceTable

LINES = 500  # of a plan; /status/plan is for reading, `plumbline plan` shows all
PATHS = ("/status/plan", "/status/peers", "/status/segments", "/status/services")
_PEER = "node "  # how the fabric's origins begin that are about a peer


class Told(NamedTuple):
    """A plan as text, cut to what a person reads."""

    at: float  # seconds since the epoch
    counts: str
    digest: str
    lines: tuple[Printed, ...]
    more: int  # lines that are left out


class View(NamedTuple):
    """Everything that the paths below /status say."""

    left: Told | None = None  # what the last round did not do; None: no round yet
    done: Told | None = None  # what the last round did that had something to do
    lists: Lists = Lists(None)
    waiting: Mapping[str, int] = {}  # peers, and how many of their rows are not in place
    table: ServiceTable | None = None  # the services whose counters are read


def view_after(view: View, report: Report, at: float) -> View:
    """The view once a round has ended. Of a round with nothing to do nothing is made anew."""
    lists = view.lists if report.context is None or view.lists.same(report.context) else Lists(report.context)
    if not report.plans:
        return view._replace(lists=lists)
    first, last = report.plans[0], report.plans[-1]
    done = _told(first, at) if report.outcomes else view.done
    return View(_told(last, at), done, lists, _waiting(last) if last.actions else {}, table_of(report.wanted))


def told(view: View, path: str, query: str) -> dict[str, Any]:
    """What one of PATHS says. Raises BadQuery."""
    asked = parse_query(query)
    match path:
        case "/status/plan":
            return {"left": _plan(view.left), "done": _plan(view.done)}
        case "/status/peers":
            return view.lists.peers(asked, view.waiting)
        case "/status/segments":
            return view.lists.segments(asked)
        case "/status/services":
            return with_counts(view.lists.services(asked), view.table)
    raise BadQuery(f"there is no {path}")


def _told(plan: Plan, at: float) -> Told:
    shown = tuple(Printed(one.sign, visible(one.text), visible(one.comment)) for one in islice(printed(plan), LINES))
    return Told(at, counts(plan), plan.digest, shown, length(plan) - len(shown))


def _waiting(plan: Plan) -> Mapping[str, int]:
    origins = (origin.what for action in plan.actions if action.change.new is not None for origin in action.change.new.origin)
    return Counter(what.removeprefix(_PEER) for what in origins if what.startswith(_PEER))


def _plan(one: Told | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "at": rfc3339(one.at),
        "counts": one.counts,
        "digest": one.digest,
        "lines": [line._asdict() for line in one.lines],
        "more": one.more,
    }
