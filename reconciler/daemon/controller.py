"""One step of the daemon: which content is in force, one round with it, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from reconciler.engine.diff import NOT_WANTED
from reconciler.engine.guard import Limits
from reconciler.engine.kind import Kinds, ObservationFailed, Reader, Scope
from reconciler.engine.model import Action, Plan, Ref, Verb, Wanted
from reconciler.engine.round import Node as NodeIO
from reconciler.engine.round import Outcome, Progress, Result, Round, silent
from reconciler.facts.model import Host, Node
from reconciler.intents import Compiled, IntentError


class Rejected(Exception):
    """Content that must not be put in force; `problems` say why, each with its place and remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Inputs(Protocol):
    """Content that is valid as far as can be told without the host."""

    @property
    def digest(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def node(self) -> Node: ...
    @property
    def needs_uplink(self) -> bool: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...

    def compile(self, host: Host) -> Compiled:
        """What this node should hold. Raises IntentError."""


class Repair(NamedTuple):
    """One row that was not as it should be although nobody had asked for a change."""

    ref: Ref
    was: str  # "was missing", "differs in dst", "was not wanted"
    done: bool  # False: it still is not
    new: bool = True  # False: the round before found it too

    def __str__(self) -> str:
        return f"{self.ref} ({self.was})"


class Report(NamedTuple):
    """What one step did. `digest` is the content in force; empty: none yet."""

    digest: str
    problems: tuple[str, ...] = ()  # why the newest content is not in force
    warnings: tuple[str, ...] = ()
    plans: tuple[Plan, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    errors: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()  # in a dry run: found, and left as they are
    converged: bool = False
    wanted: Wanted = Wanted()
    uplink: str = ""


class _Verdict(NamedTuple):
    """What compiling some content for this host gave: rows, or why it cannot be in force."""

    inputs: Inputs
    host: Host
    compiled: Compiled | None
    problems: tuple[str, ...] = ()


class Controller:
    """Holds the newest content and the last that was good; one daemon has one for its life."""

    def __init__(
        self,
        io: NodeIO,
        kinds: Kinds,
        load: Callable[[], Inputs],
        observe: Callable[[Reader, Node, str], Host],
        *,
        root: str = "",
        dry_run: bool = False,
        progress: Progress = silent,
    ) -> None:
        self._io, self._kinds, self._load, self._observe = io, kinds, load, observe
        self._root, self._dry_run, self._progress = root, dry_run, progress
        self._newest: Inputs | None = None
        self._good: Inputs | None = None
        self._problems: tuple[str, ...] = ("no content was read yet",)
        self._verdicts: tuple[_Verdict, ...] = ()
        self._left: frozenset[Ref] = frozenset()  # found by the last round, and still not as it should be
        self._settled: Wanted | None = None  # what the node held when the last round converged
        self._rounds: tuple[Limits, Round] | None = None

    def reload(self) -> None:
        """Read the content again. What is not valid changes nothing but the problems."""
        try:
            self._newest = self._load()
            self._problems = ()
        except Rejected as rejected:
            self._newest = None
            self._problems = rejected.problems

    def step(self) -> Report:
        """One round with the newest content that is good."""
        problems = self._problems
        for inputs in (self._newest, self._good):
            if inputs is None:
                continue
            try:
                verdict = self._judge(inputs)
            except ObservationFailed as failure:
                return Report(inputs.digest, problems, inputs.warnings, errors=(str(failure),))
            if verdict.compiled is not None:
                self._good = inputs
                return self._converge(verdict, verdict.compiled, problems)
            problems = problems or verdict.problems
        return Report(self._good.digest if self._good else "", problems)

    def _judge(self, inputs: Inputs) -> _Verdict:
        """Compile for the host as it is now; kept while neither changes. Raises ObservationFailed."""
        try:
            host = self._observe(self._io, inputs.node, self._root)
        except ObservationFailed:
            if inputs.needs_uplink:
                raise
            host = Host("", 0, root=self._root)
        known = next((one for one in self._verdicts if one.inputs is inputs), None)
        if known is not None and known.host == host:
            return known
        verdict = _compile(inputs, host)
        kept = (one for one in self._verdicts if one.inputs is not inputs and (one.inputs is self._newest or one.inputs is self._good))
        self._verdicts = (verdict, *kept)
        return verdict

    def _converge(self, verdict: _Verdict, compiled: Compiled, problems: tuple[str, ...]) -> Report:
        scope = Scope(("",), compiled.wanted, self._root)
        engine = self._engine(verdict.inputs)
        if self._dry_run:
            plan, seen = engine.plan(scope)
            result = Result((plan,), (), _unseen(plan), seen)
        else:
            result = engine.converge(scope, progress=self._progress)
        drifted = self._settled is compiled.wanted or self._dry_run
        repairs = _repairs(result.plans, result.outcomes, self._left) if drifted else ()
        self._left = frozenset(one.ref for one in repairs if not one.done)
        if result.converged:
            self._settled = compiled.wanted
        warnings = (*verdict.inputs.warnings, *(str(remark) for remark in compiled.remarks))
        return Report(
            verdict.inputs.digest,
            problems,
            warnings,
            result.plans,
            result.outcomes,
            result.errors,
            repairs,
            result.converged,
            compiled.wanted,
            verdict.host.uplink,
        )

    def _engine(self, inputs: Inputs) -> Round:
        """Its templates are compiled once, and again only when the limits change."""
        if self._rounds is None or self._rounds[0] != inputs.limits:
            self._rounds = (inputs.limits, Round(self._io, self._kinds, limits=inputs.limits, name=inputs.node.name))
        return self._rounds[1]


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


def _repairs(plans: tuple[Plan, ...], outcomes: tuple[Outcome, ...], known: frozenset[Ref]) -> tuple[Repair, ...]:
    """One for each row of the first plan; a row that is made anew counts once."""
    left = {action.ref for action in plans[-1].actions}
    done = {outcome.action.ref for outcome in outcomes if outcome.failure is None}
    found: dict[Ref, Repair] = {}
    for action in plans[0].actions:
        mended = action.ref in done and action.ref not in left
        found.setdefault(action.ref, Repair(action.ref, _was(action), mended, action.ref not in known))
    return tuple(found.values())


def _was(action: Action) -> str:
    if action.verb is Verb.CREATE and action.change.old is None:
        return "was missing"
    if action.verb is Verb.DELETE and action.note == NOT_WANTED:
        return "was not wanted"
    return action.note or "differed"
