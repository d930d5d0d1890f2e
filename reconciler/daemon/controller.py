"""One step of the daemon: which content is in force, one round with it, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from reconciler.confirm.commit import Trial
from reconciler.confirm.journal import BadJournal
from reconciler.confirm.trials import Trials
from reconciler.daemon.cni.attached import Attachments
from reconciler.daemon.cni.boot import Boot
from reconciler.daemon.content import Inputs, Rejected
from reconciler.daemon.repairs import Repair, failures, repairs, undone
from reconciler.daemon.step import Report
from reconciler.daemon.suspicion import suspicion
from reconciler.daemon.turns import Turns
from reconciler.engine.guard import Hold, Limits, builds_only
from reconciler.engine.kind import Kinds
from reconciler.engine.looking import Listener, Nobody
from reconciler.engine.model import Action, Plan, Ref, Refusal, Seen, Wanted
from reconciler.engine.observe import observe
from reconciler.engine.reader import ObservationFailed, Reader, Scope
from reconciler.engine.round import Node as NodeIO
from reconciler.engine.round import Progress, Result, Round, nothing_first, silent
from reconciler.facts.model import Host, Node
from reconciler.intents import Compiled, IntentError
from reconciler.kernel.devices import with_devices
from reconciler.kernel.pods import Finder, finder, node_scope
from reconciler.kernel.services import with_services

_GROUND = {"link", "address", "route"}  # what a host's facts are read from
UNDONE = "undone: "  # how an error begins that says so


class _Verdict(NamedTuple):
    """What compiling some content for this host gave: rows, or why it cannot be in force."""

    inputs: Inputs
    host: Host
    compiled: Compiled | None
    problems: tuple[str, ...] = ()


class _Suspect(NamedTuple):
    """Why content waits for a person, and the digest that is to be confirmed."""

    why: Refusal
    digest: str


class Controller:
    """Holds the newest content and the last that was good; one daemon has one for its life.

    `kept`: content that was good before this start.
    """

    def __init__(
        self,
        io: NodeIO,
        kinds: Kinds,
        load: Callable[[], Inputs],
        observe: Callable[[Reader, Node, str], Host],
        *,
        kept: Inputs | None = None,
        root: str = "",
        dry_run: bool = False,
        progress: Progress = silent,
        trials: Trials | None = None,
        turns: Turns | None = None,
        attachments: Attachments | None = None,
        boot: Boot | None = None,
        listener: Listener = Nobody(),
    ) -> None:
        self._listener = listener
        self._io, self._kinds, self._load, self._observe = io, kinds, load, observe
        self._attachments = attachments or Attachments(None)
        self._boot = boot or Boot(None)
        self._root, self._dry_run, self._progress = root, dry_run, progress
        self._trials = trials
        self._turns = turns or Turns()
        self._newest: Inputs | None = None
        self._good: Inputs | None = kept
        self._before: Inputs | None = None  # what was in force before that
        self._accepted = ""  # suspicious content that a person confirmed
        self._problems: tuple[str, ...] = ("no content was read yet",)
        self._verdicts: tuple[_Verdict, ...] = ()
        self._refused = ""  # digest of the plan that the last round refused
        self._left: frozenset[Ref] = frozenset()  # found by the last round, and still not as it should be
        self._asked: frozenset[Ref] = frozenset()  # what the newest content changes, and is not done yet: no drift
        self._put: Wanted | None = None  # what the last round put in place, or tried to
        self._rest: tuple[Scope, Seen] | None = None  # of the last round, if it left nothing to do
        self._rounds: tuple[Limits, Round] | None = None
        self._finders: tuple[str, Finder] | None = None
        self._host: tuple[object, Node, Host] | None = None  # when it was looked at, for which node, and what was seen

    @property
    def good(self) -> Inputs | None:
        """The content in force."""
        return self._good

    def reload(self) -> None:
        """Read the content again. What is not valid changes nothing but the problems; what is the same changes nothing."""
        try:
            newest = self._load()
        except Rejected as rejected:
            self._newest = None
            self._problems = rejected.problems
            return
        known = (one for one in (self._newest, self._good) if one is not None and one.same(newest))
        self._newest = next(known, newest)
        self._problems = ()

    def unchanged(self, names: Collection[str]) -> bool:
        """Whether the rows of these kinds are still those that a round ended with, and that round left nothing to do."""
        if self._rest is None:
            return False
        scope, before = self._rest
        now = observe(self._kinds, self._io, scope, names)
        return not now.absent and all(not now.failure(name) and now.rows(name) == before.rows(name) for name in names)

    def step(self, *, confirmed: Collection[str] = (), resting: Mapping[Ref, str] = {}) -> Report:
        """One round with the newest content that is good.

        confirmed: digests of content and of plans that a person has confirmed.
        resting: rows to leave alone this time, with the reason.
        """
        told = Report(self._good.digest if self._good else "", self._problems, stale=self._good is not None and self._good.stale)
        told = told._replace(rolled_back=self._rolled_back())
        self._turns.begin()
        for inputs in (self._newest, self._good):
            if inputs is None:
                continue
            suspect = self._suspicion(inputs, confirmed)
            if suspect is not None:
                told = told._replace(suspect=suspect.why, content=suspect.digest)
                continue
            try:
                verdict = self._judge(inputs)
            except ObservationFailed as failure:
                self._take_back(inputs)
                return told._replace(digest=inputs.digest, stale=inputs.stale, warnings=inputs.warnings, errors=(str(failure),))
            if verdict.compiled is not None:
                used = {inputs.content, inputs.digest} & set(confirmed) if inputs is self._newest else set()
                if inputs is not self._good:
                    self._before, self._good = self._good, inputs
                told = told._replace(digest=inputs.digest, stale=inputs.stale, used=frozenset(used))
                report = self._converge(verdict, verdict.compiled, told, confirmed, resting)
                if not report.converged or self._dry_run or not self._boot.settle():
                    return report
                if _withheld(verdict.compiled):
                    return _joined(report, self.step(confirmed=confirmed, resting=resting))
                self._settle()
                return report
            told = told._replace(problems=told.problems or verdict.problems)
        self._take_back(self._newest or self._good)
        return told

    def _take_back(self, inputs: Inputs | None) -> None:
        """Nothing can be put in place: nor may what the last boot has left tell the runtime that the network is."""
        if inputs is not None and not self._dry_run:
            self._boot.take_back(self._io, self._kinds, inputs.context(Host("", 0, root=self._root)), self._root)

    def _settle(self) -> None:
        """Nothing was withheld, so nothing has to be compiled again."""
        self._verdicts = tuple(one._replace(host=one.host._replace(settled=True)) for one in self._verdicts)

    def _suspicion(self, inputs: Inputs, confirmed: Collection[str]) -> _Suspect | None:
        """Why content must not follow what was good before."""
        if inputs is self._good:
            return None
        undone = self._undone(inputs, confirmed)
        if undone is not None or self._good is None:
            return undone
        why = suspicion(self._good, inputs, inputs.node.name)
        if not why and inputs.digest != self._good.digest:
            why = self._turns.elsewhere(inputs.digest)
        if not why or inputs.content in (self._accepted, *confirmed):
            self._accepted = inputs.content if why else ""  # confirmed once, until it is in force or replaced
            return None
        return _Suspect(Refusal(why, "read it; if it is right, confirm its digest"), inputs.content)

    def _rolled_back(self) -> str:
        return self._newest.digest if self._newest is not None and self._why_undone(self._newest) else ""

    def _why_undone(self, inputs: Inputs) -> str:
        return self._trials.undone(inputs.digest) if self._trials else ""

    def _undone(self, inputs: Inputs, confirmed: Collection[str]) -> _Suspect | None:
        """Why a network.yaml that was undone before must not be tried again, whichever nodes there are by now."""
        why = self._why_undone(inputs)
        if not why:
            going_on = self._trials.going_on(inputs.digest) if self._trials else ""
            return _Suspect(Refusal(going_on, "unless you confirm its digest"), inputs.digest) if going_on else None
        if self._trials and inputs.digest in confirmed:
            self._trials.lift(inputs.digest)
            return None
        refusal = Refusal(f"it was put in place and undone: {why}", "change it; or, if it is right now, confirm its digest")
        return _Suspect(refusal, inputs.digest)

    def _judge(self, inputs: Inputs) -> _Verdict:
        """Compile for the host as it is now; kept while neither changes. Raises ObservationFailed."""
        try:
            host = self._look_at_host(inputs)
        except ObservationFailed:
            if inputs.needs_uplink:
                raise
            host = Host("", 0, root=self._root)
        host = with_services(with_devices(host, self._io, inputs.devices), self._io, inputs.services)
        self._boot.carry_over(inputs.context(host), self._root)
        host = self._attachments.on(host, self._finder(inputs), inputs.pods, inputs.node.name)._replace(settled=self._boot.settled)
        known = next((one for one in self._verdicts if one.inputs is inputs), None)
        if known is not None and known.host == host:
            return known
        verdict = _compile(inputs, host)
        kept = (one for one in self._verdicts if one.inputs is not inputs and (one.inputs is self._newest or one.inputs is self._good))
        self._verdicts = (verdict, *kept)
        return verdict

    def _look_at_host(self, inputs: Inputs) -> Host:
        """As it was, where the kernel tells of no change in what its facts are read from. Raises ObservationFailed."""
        if self._host is not None and self._host[1] == inputs.node:
            told = self._listener.told(self._host[0])
            if told is not None and not _GROUND & set(told):
                return self._host[2]
        mark = self._listener.mark()
        self._host = None
        host = self._observe(self._io, inputs.node, self._root)
        self._host = mark, inputs.node, host
        return host

    def _finder(self, inputs: Inputs) -> Finder:
        """Kept: it does not read again what it knows."""
        if self._finders is None or self._finders[0] != inputs.pod_netns:
            self._finders = (inputs.pod_netns, finder(inputs.pod_netns, inputs.node.name))
        return self._finders[1]

    def _converge(
        self, verdict: _Verdict, compiled: Compiled, told: Report, confirmed: Collection[str], resting: Mapping[Ref, str]
    ) -> Report:
        inputs = verdict.inputs
        scope = node_scope(self._io, self._attachments.among(self._finder(inputs)), inputs.pods, compiled.wanted, self._root)
        result, undid = self._run(verdict.inputs, scope, confirmed, _hold(_withheld(compiled), stale=inputs.stale, resting=resting))
        if undid:
            told = told._replace(rolled_back=inputs.digest if inputs is self._newest else told.rolled_back)
            self._good, self._before = self._before, None  # drift is repaired with what was in force before
        self._turns.after(inputs.digest, converged=result.converged and not undid, undone=told.rolled_back)
        found = self._drift(result, compiled.wanted)
        self._rest = (scope, result.seen) if result.converged else None
        self._refused = result.last.digest if result.last.refusal is not None else ""
        return told._replace(
            warnings=(*verdict.inputs.warnings, *(str(remark) for remark in compiled.remarks)),
            plans=result.plans,
            outcomes=result.outcomes,
            errors=result.errors,
            repairs=found,
            failed=failures(result),
            undone=undone(result),
            converged=result.converged,
            wanted=compiled.wanted,
            awaited=any(remark.awaited for remark in compiled.remarks),
            uplink=verdict.host.uplink,
            seen=result.seen,
            context=verdict.inputs.context(verdict.host),
            used=told.used | {plan.digest for plan in result.plans[:-1] if plan.refusal is not None},
        )

    def _drift(self, result: Result, wanted: Wanted) -> tuple[Repair, ...]:
        """What was changed by others: not what new content changes, however long that takes."""
        left = frozenset(action.ref for action in result.last.actions)
        if self._put is not wanted and not self._dry_run:
            self._put, self._asked, self._left = wanted, left, frozenset()
            return ()
        found = tuple(one for one in repairs(result.plans, result.outcomes, self._left) if one.ref not in self._asked)
        self._asked &= left
        self._left = frozenset(one.ref for one in found if not one.done)
        return found

    def _run(self, inputs: Inputs, scope: Scope, confirmed: Collection[str], hold: Hold | None) -> tuple[Result, bool]:
        """The round, and whether it was undone because it cut the node off."""
        engine = self._engine(inputs)
        if self._dry_run:
            plan, seen = engine.plan(scope, hold)
            return Result((plan,), (), _unseen(plan), seen), False
        word = self._refused if self._refused in confirmed else next(iter(confirmed), "")
        trial = inputs.trial(self._trials, lambda: self._look_at_host(inputs)) if self._trials else None
        host = next(one.host for one in self._verdicts if one.inputs is inputs)
        before = self._turns.before(inputs.digest, inputs.rollout, len(inputs.nodes), host, trial.before if trial else nothing_first)
        result = engine.converge(scope, confirmed=word, progress=self._progress, hold=hold, before=before)
        why = _decided(trial)
        if not why:
            return result, False
        plan, seen = engine.plan(scope, hold)
        return result._replace(plans=(*result.plans, plan), errors=(*result.errors, f"{UNDONE}{why}"), seen=seen), True

    def _engine(self, inputs: Inputs) -> Round:
        """Its templates are compiled once, and again only when the limits change."""
        if self._rounds is None or self._rounds[0] != inputs.limits:
            made = Round(self._io, self._kinds, limits=inputs.limits, name=inputs.node.name, listener=self._listener)
            self._rounds = (inputs.limits, made)
        return self._rounds[1]


def _decided(trial: Trial | None) -> str:
    """Why the round was undone; empty where it stays."""
    try:
        return trial.decide() if trial else ""
    except BadJournal as error:
        return str(error)


def _withheld(compiled: Compiled) -> frozenset[Ref]:
    return frozenset(remark.withholds for remark in compiled.remarks if remark.withholds is not None)


def _joined(first: Report, then: Report) -> Report:
    """Two passes of one step: what the first withheld came with the second."""
    return then._replace(
        plans=(*first.plans, *then.plans),
        outcomes=(*first.outcomes, *then.outcomes),
        repairs=(*first.repairs, *then.repairs),
        used=first.used | then.used,
    )


def _hold(withheld: Collection[Ref], *, stale: bool, resting: Mapping[Ref, str]) -> Hold | None:
    """Why an action must not run now, in as few calls as it takes: a round may ask it of thousands.

    withheld: rows that go for now, whatever the content's age.
    """

    def both(action: Action) -> str:
        return resting.get(action.ref) or ("" if action.ref in withheld else builds_only(action))

    if stale:
        return both if resting or withheld else builds_only
    return (lambda action: resting.get(action.ref, "")) if resting else None


def _compile(inputs: Inputs, host: Host) -> _Verdict:
    try:
        compiled = inputs.compile(host)
    except IntentError as error:
        return _Verdict(inputs, host, None, (str(error),))
    if compiled.clashes:
        return _Verdict(inputs, host, None, tuple(str(clash) for clash in compiled.clashes))
    return _Verdict(inputs, host, compiled)


def _unseen(plan: Plan) -> tuple[str, ...]:
    return tuple(f"could not be observed: {failure}" for failure in plan.failures)
