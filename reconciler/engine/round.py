"""One round: observe, plan, execute, observe again, until the plan is empty.

Success is an empty plan, not the absence of failed commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from reconciler.engine.guard import Hold, Limits
from reconciler.engine.kind import NO_EFFECT, Kind, Kinds
from reconciler.engine.looking import Listener, Looking, Nobody
from reconciler.engine.model import REFUSED, Action, Line, Owner, Plan, Ref, Seen, Verb, Wanted
from reconciler.engine.observe import observe
from reconciler.engine.pipeline import plan_from
from reconciler.engine.reader import Reader, Scope
from reconciler.engine.render import Renderer
from reconciler.engine.settled import Settled

PASSES = 6  # a cold start with a held file takes two; each further pass needs progress in the one before


class Failure(NamedTuple):
    """Why an action is not done. `ran` is False when its line never came to run (the batch ended before it)."""

    message: str
    ran: bool = True


class Executor(Protocol):
    """Runs lines in a node. Never raises for what a line does; a stopped tool is a Failure of its lines."""

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        """Run the lines of consecutive actions, in order, in as few processes as their tools allow.

        Returns for each action None, or why it is not done. Lines after a failed
        one run all the same.
        """


class Node(Reader, Executor, Protocol):
    """One node: what can be asked of it, and what can run in it."""


class Outcome(NamedTuple):
    """What became of one action."""

    action: Action
    failure: Failure | None


class Result(NamedTuple):
    """A round: the plans it made (the last one is what remains), and what was run."""

    plans: tuple[Plan, ...]
    outcomes: tuple[Outcome, ...]
    errors: tuple[str, ...]
    seen: Seen

    @property
    def converged(self) -> bool:
        return self.plans[-1].empty

    @property
    def first(self) -> Plan:
        return self.plans[0]

    @property
    def last(self) -> Plan:
        return self.plans[-1]


Progress = Callable[[int, int], None]  # actions done, actions in this pass


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


Before = Callable[[Plan, Seen], str]


def nothing_first(plan: Plan, seen: Seen) -> str:
    """Nothing has to be done before a plan runs."""
    return ""


_Step = tuple[Ref, Verb]  # what is done to which row, told apart from plan to plan


def _step(action: Action) -> _Step:
    return action.ref, action.verb


class _History:
    """What was run before in this round. Kept only once a pass has left something to do."""

    def __init__(self) -> None:
        self.alone: dict[_Step, int] = {}  # how often an action's batch ended before its line
        self._tried: dict[_Step, tuple[Line, ...]] = {}
        self._refused: set[_Step] = set()  # once, in a pass that took something away afterwards

    def untried(self, actions: Sequence[Action]) -> Sequence[Action]:
        if not self._tried:
            return actions
        return [action for action in actions if self._tried.get(_step(action)) != action.lines]

    def note(self, outcomes: Sequence[Outcome]) -> None:
        cleared = any(failure is None and action.verb is Verb.DELETE for action, failure in outcomes)
        for action, failure in outcomes:
            step = _step(action)
            if failure is not None and failure.ran and cleared and step not in self._refused:
                self._refused.add(step)  # what was in its way may have gone: it is tried again
            elif failure is None or failure.ran:
                self._tried[step] = action.lines
            else:
                self.alone[step] = self.alone.get(step, 0) + 1


class Round:
    """Converges one node. Keeps the compiled templates between calls, and what was found to be in order: the same is so again."""

    def __init__(self, node: Node, kinds: Kinds, *, limits: Limits = Limits(), name: str = "", listener: Listener = Nobody()) -> None:
        self._node, self._kinds, self._limits, self._name = node, kinds, limits, name
        self._looking = Looking(kinds, node, listener)
        self._renderer = Renderer(kinds)
        self._empty: tuple[Wanted, Seen, Plan] | None = None  # what was found to be in order
        self._settled: Settled | None = None
        self._assigned: Wanted | None = None

    def plan(self, scope: Scope, hold: Hold | None = None) -> tuple[Plan, Seen]:
        """What would run now; `hold` says of each action why it must not."""
        seen = self._looking.look(scope)
        if self._empty is not None and self._empty[0] is scope.wanted and self._empty[1] == seen:
            return self._empty[2], seen
        plan, self._settled, self._assigned = plan_from(
            self._settled, self._assigned, self._name, self._kinds, self._renderer, scope.wanted, seen, self._limits, hold
        )
        if plan.empty:
            self._empty = (scope.wanted, seen, plan)
        return plan, seen

    def converge(
        self,
        scope: Scope,
        *,
        confirmed: str = "",
        expect: str = "",
        progress: Progress = silent,
        hold: Hold | None = None,
        before: Before = nothing_first,
    ) -> Result:
        """Plan and run until nothing is left to do, or nothing more can be done.

        confirmed: a digest that a person has confirmed; lifts the guard for that plan.
        expect: run only if the first plan has this digest.
        before: asked once, with the plan that is about to run; a reason why it must not, or "".
        """
        plan, seen = self.plan(scope, hold)
        plans, outcomes = [plan], list[Outcome]()
        errors: list[str] = []
        if expect and plan.digest != expect:
            message = f"the plan is now {plan.digest or 'empty'}, not {expect}: read it again"
            return Result((plan,), (), (message,), seen)
        history = _History()
        for _ in range(PASSES):
            if plan.refusal is not None and plan.digest != confirmed:
                break
            todo = history.untried(plan.runnable)
            if not todo:
                break
            if not outcomes and (why := before(plan, seen)):
                errors.append(why)
                break
            fresh = self._execute(todo, scope, seen, history.alone, progress)
            outcomes += fresh
            plan, seen = self.plan(scope, hold)
            plans.append(plan)
            if plan.actions:
                history.note(fresh)
        errors += _errors(self._kinds, plan, outcomes)
        return Result(tuple(plans), tuple(outcomes), tuple(errors), seen)

    def _execute(
        self, actions: Sequence[Action], scope: Scope, seen: Seen, alone: Mapping[_Step, int], progress: Progress
    ) -> list[Outcome]:
        """Run a pass, one kind at a time; what needs a failed action, or something that changed under us, is skipped."""
        outcomes: list[Outcome] = []
        failed: dict[Ref, str] = {}
        watch = _Watch(self._node, self._kinds, scope, seen)
        for run in _runs(self._kinds, actions, alone):
            ready = run
            changed = watch.changed(run)
            if failed or changed:
                ready = []
                for action in run:
                    why = _skip(action, failed, changed)
                    if why is None:
                        ready.append(action)
                    else:
                        failed[action.ref] = why.message
                        outcomes.append(Outcome(action, why))
            for action, failure in zip(ready, self._node.run(ready) if ready else (), strict=True):
                outcomes.append(Outcome(action, failure))
                if failure is not None:
                    failed[action.ref] = failure.message
            watch.note(ready)
            progress(len(outcomes), len(actions))
        return outcomes


def _runs(kinds: Kinds, actions: Iterable[Action], alone: Mapping[_Step, int]) -> Iterable[list[Action]]:
    """Runs of one kind (or of kinds that join) and verb; an action whose batch ended early twice before runs by itself."""
    joined = {name: kind.joins or name for name, kind in kinds.items()}

    def group(action: Action) -> tuple[object, ...]:
        lonely = action.ref if alone and alone.get(_step(action), 0) >= 2 else None
        return (joined[action.change.kind], action.verb is Verb.DELETE, lonely)

    for _, run in groupby(actions, key=group):
        yield list(run)


_CHANGED = "is no longer the one that was observed, or could not be looked at again"


def _skip(action: Action, failed: Mapping[Ref, str], changed: frozenset[Ref]) -> Failure | None:
    if action.ref in changed:
        return Failure(f"{action.ref} {_CHANGED}")
    for need in action.needs:
        if need in changed:
            return Failure(f"skipped: {need} {_CHANGED}")
        if need in failed and action.verb is not Verb.DELETE:
            return Failure(f"skipped: needs {need}, which failed")
    first = next((one for one in action.change.after if one in failed or one in changed), None)
    return Failure(f"skipped: waits for {first}, which failed") if first is not None else None


class _Watch:
    """Looks again at rows whose names can change hands (links) before anything is written into them."""

    def __init__(self, node: Node, kinds: Kinds, scope: Scope, seen: Seen) -> None:
        self._node, self._kinds, self._scope = node, kinds, scope
        self._names = [name for name, kind in kinds.items() if kind.rechecked]
        self._known = {name: self._identities(kinds[name], seen) for name in self._names}
        self._made: set[Ref] = set()
        self._lost: set[Ref] = set()

    @staticmethod
    def _identities(kind: Kind[Any], seen: Seen) -> dict[Ref, tuple[int | None, Owner]]:
        return {kind.ref(row): (kind.identity(row), kind.owner(row, seen)) for row in seen.rows(kind.name)}

    def note(self, actions: Iterable[Action]) -> None:
        """These were just made or changed by us: their new identity is the expected one."""
        self._made |= {action.ref for action in actions if action.ref.kind in self._names}

    def changed(self, run: Sequence[Action]) -> frozenset[Ref]:
        """Refs that these actions touch or need and that are not what was observed. Once changed, changed."""
        asked = {ref for needs in {action.needs for action in run} for ref in needs if ref.kind in self._names}
        asked |= {action.ref for action in run if action.ref.kind in self._names}
        if not asked:
            return frozenset()
        here = dict.fromkeys(line.netns for action in run for line in action.lines)
        now = observe(self._kinds, self._node, self._scope._replace(netns=tuple(here)), {ref.kind for ref in asked})
        for name in now:
            if now.failure(name):  # whose a row is that goes was told without what was never seen
                return frozenset(ref for ref in asked if run[0].verb is not Verb.DELETE or ref in self._known[ref.kind])
            current = self._identities(self._kinds[name], now)
            self._lost |= {ref for ref in asked if ref.kind == name and self._is_another(ref, current, now)}
        return frozenset(asked & self._lost)

    def _is_another(self, ref: Ref, current: Mapping[Ref, tuple[int | None, Owner]], now: Seen) -> bool:
        if ref not in current:
            return False  # gone, or not made yet: the kernel will refuse what needs it
        known = self._known[ref.kind]
        if ref in self._made or ref not in known:  # made by us or, meanwhile, by somebody
            self._made.discard(ref)
            known[ref] = current[ref]
            return not self._ours(ref, current, now)
        return known[ref] != current[ref]

    def _ours(self, ref: Ref, current: Mapping[Ref, tuple[int | None, Owner]], now: Seen) -> bool:
        if current[ref][1] is Owner.OURS:
            return True
        wanted = self._scope.wanted.get(ref)
        return wanted is not None and self._kinds[ref.kind].adopts(wanted)


def _errors(kinds: Kinds, plan: Plan, outcomes: Sequence[Outcome]) -> Iterable[str]:
    """What a person must know: what could not be observed, was refused, failed, or had no effect."""
    yield from (f"could not be observed: {failure}" for failure in plan.failures)
    yield from (f"conflict: {conflict.reason}; {conflict.remedy}" for conflict in plan.conflicts)
    if plan.refusal is not None:
        yield f"refused: {plan.refusal.reason}; {plan.refusal.remedy}"
    last = {_step(one.action): one for one in outcomes} if plan.actions else {}
    for action in plan.actions:
        outcome = last.get(_step(action))
        name = f"{action.ref}"
        if outcome is not None and outcome.failure is not None:
            advice = kinds[action.change.kind].advice(action.change.row, outcome.failure.message)
            yield f"{name}: {outcome.failure.message}" + (f"; {advice}" if advice else "")
        elif outcome is not None and action.lines == outcome.action.lines:
            advice = kinds[action.change.kind].advice(action.change.row, NO_EFFECT)
            yield f"{name}: {NO_EFFECT}: the command exited 0 and the difference is still there ({action.note})" + (
                f"; {advice}" if advice else ""
            )
        elif action.held:
            if not (plan.conflicts and action.held.endswith(REFUSED)):
                yield f"{name}: {action.held}"
        elif plan.refusal is None:
            yield f"{name}: is not as it should be ({action.note or 'missing'}): it changed while this ran"
