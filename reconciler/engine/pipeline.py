"""The main flow: assign → diff → order → block → render → digest. Pure; read this first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from reconciler.engine import guard
from reconciler.engine.assign import assign
from reconciler.engine.diff import diff
from reconciler.engine.guard import Hold, Limits
from reconciler.engine.kind import Kinds
from reconciler.engine.model import WAITS, Action, Plan, Seen, Wanted
from reconciler.engine.order import order
from reconciler.engine.render import Renderer
from reconciler.engine.settled import Settled


def make_plan(
    node: str, kinds: Kinds, renderer: Renderer, wanted: Wanted, seen: Seen, limits: Limits = Limits(), hold: Hold | None = None
) -> Plan:
    """What would have to run on `node` for `seen` to become `wanted`, in order, as the lines themselves."""
    return plan_from(None, None, node, kinds, renderer, wanted, seen, limits, hold)[0]


def plan_from(
    settled: Settled | None,
    before: Wanted | None,
    node: str,
    kinds: Kinds,
    renderer: Renderer,
    wanted: Wanted,
    seen: Seen,
    limits: Limits,
    hold: Hold | None,
) -> tuple[Plan, Settled | None, Wanted]:
    """The same, with the state that nothing is left to do in, and what is wanted with its handles: both to start from next time."""
    if seen.absent:
        wanted = wanted.without(seen.absent)
    wanted = assign(kinds, wanted, seen, before)
    found = diff(kinds, wanted, seen, settled)
    actions = order(kinds, wanted, seen, found.changes)
    if hold is not None:
        actions = guard.hold(actions, hold)
    actions = guard.block(kinds, wanted, seen, actions, found.conflicts)
    rendered = renderer.render(actions)
    if any(after.held != before.held for before, after in zip(actions, rendered, strict=True)):
        rendered = guard.block(kinds, wanted, seen, rendered, found.conflicts)  # what could not be put into words is missing to others
    actions = rendered
    failures = tuple(f"{name}: {failure}" for name in seen if (failure := seen.failure(name)))
    failures += tuple(f"network namespace {name}: {why}" for name, why in seen.absent.items() if why)
    refusal = guard.limit(kinds, seen, actions, limits)
    plan = Plan(node, tuple(actions), tuple(found.conflicts), failures, refusal, digest(actions))
    return plan, Settled(wanted, seen) if plan.empty else settled, wanted


def digest(actions: Iterable[Action]) -> str:
    """sha256 over every line and every staged content of the actions that would run, those that wait too; "" for none."""
    parts: list[str] = []
    for action in actions:
        if action.held not in ("", WAITS):
            continue
        parts += [str(line) if line.netns else line.words for line in action.lines]
        for file in action.files:
            parts += (f"{file.path} {file.mode:o} {len(file.content)}", hashlib.sha256(file.content).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""
