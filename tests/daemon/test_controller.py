"""Which content is in force, without a kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from reconciler.confirm.journal import QUARANTINE, UNDOING, Journal
from reconciler.confirm.trials import FOLDER, Trials
from reconciler.daemon.content import Rejected
from reconciler.daemon.controller import Controller
from reconciler.engine.guard import Limits
from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Action, Owner, Verb
from reconciler.engine.reader import ObservationFailed, Reader
from reconciler.engine.round import Failure
from reconciler.facts.model import Host, Node
from reconciler.kinds import all_kinds
from reconciler.kinds.route import Route
from tests.daemon.made import HOST, Content, Made, blackholes


class Remembered(Kind[Route]):
    """Routes of a kernel that is a dictionary."""

    name, rank, row, uncompared = "route", 1, Route, 2
    grammar = all_kinds()["route"].grammar
    folder = all_kinds()["route"].folder  # type: ignore[assignment]

    def __init__(self) -> None:
        self.kernel: dict[Any, Route] = {}

    def observe(self, io: Any, scope: Any) -> list[Route]:
        return list(self.kernel.values())

    def visit(self, netns: Any) -> AbstractContextManager[Any]:
        return nullcontext({})

    def decoded(self, netns: str, request: Any, decode: Any) -> list[Any]:
        """It has no devices."""
        return []

    def owner(self, row: Route, seen: Any) -> Owner:
        return Owner.OURS

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        for action in actions:
            if action.verb is Verb.DELETE:
                del self.kernel[action.change.old.key]
            else:
                self.kernel[action.change.new.key] = action.change.new
        return [None] * len(actions)


class Bench:
    """A controller with everything around it made by hand."""

    def __init__(self, content: Made | Rejected, **how: Any) -> None:
        self.kind = Remembered()
        self.content = Content(content)
        self.host: Host | None = HOST
        self.controller = Controller(self.kind, Kinds([self.kind]), self.content, self._observe, **how)  # type: ignore[arg-type]
        self.controller.reload()

    def _observe(self, io: Reader, node: Node, root: str) -> Host:
        if self.host is None:
            raise ObservationFailed("no interface holds the address of node n1")
        return self.host

    @property
    def holds(self) -> list[str]:
        return sorted(key.dst for key in self.kind.kernel)

    def give(self, content: Made | Rejected) -> None:
        self.content.inputs = content
        self.controller.reload()


def test_good_content_is_put_in_force_and_is_no_drift() -> None:
    bench = Bench(Made("one", blackholes(1)))
    report = bench.controller.step()
    assert (report.digest, report.converged, report.repairs, bench.holds) == ("one", True, (), ["10.99.1.0/24"])


def test_drift_is_told_row_by_row() -> None:
    bench = Bench(Made("one", blackholes(1, 2, 3)))
    bench.controller.step()
    [first, second, _] = blackholes(1, 2, 3)
    del bench.kind.kernel[first.key]
    bench.kind.kernel[second.key] = second._replace(mtu=1400)
    [extra] = blackholes(9)
    bench.kind.kernel[extra.key] = extra
    repairs = {str(one) for one in bench.controller.step().repairs if one.done}
    assert repairs == {
        "route 254 10.99.1.0/24 (was missing)",
        "route 254 10.99.2.0/24 (differs in mtu)",
        "route 254 10.99.9.0/24 (was not wanted)",
    }


@pytest.mark.parametrize(
    "bad",
    [
        Rejected(("network.yaml:3: unknown key",)),
        Made("bad", error="node n1 has no address"),
        Made("bad", (*blackholes(1), blackholes(1)[0]._replace(mtu=1400))),
    ],
    ids=["does not validate", "no answer", "contradicts itself"],
)
def test_what_is_not_good_never_replaces_the_last_good(bad: Made | Rejected) -> None:
    bench = Bench(Made("good", blackholes(1)))
    bench.controller.step()
    bench.give(bad)
    report = bench.controller.step()
    assert (report.digest, report.converged, bench.holds) == ("good", True, ["10.99.1.0/24"])
    assert len(report.problems) == 1

    bench.kind.kernel.clear()
    report = bench.controller.step()
    assert [str(one) for one in report.repairs] == ["route 254 10.99.1.0/24 (was missing)"]
    assert report.problems, "it stays said"

    bench.give(Made("better", blackholes(2)))
    report = bench.controller.step()
    assert (report.digest, report.problems, bench.holds) == ("better", (), ["10.99.2.0/24"])


def test_without_good_content_nothing_is_touched() -> None:
    bench = Bench(Rejected(("rubbish",)))
    [extra] = blackholes(9)
    bench.kind.kernel[extra.key] = extra
    report = bench.controller.step()
    assert (report.digest, report.problems, report.plans, bench.holds) == ("", ("rubbish",), (), ["10.99.9.0/24"])


def test_a_host_that_cannot_be_observed_changes_nothing_and_is_tried_again() -> None:
    bench = Bench(Made("one", blackholes(1), needs_uplink=True))
    bench.host = None
    report = bench.controller.step()
    assert report.errors == ("no interface holds the address of node n1",)
    assert not report.converged
    assert bench.holds == []
    bench.host = HOST
    assert bench.controller.step().converged
    assert bench.holds == ["10.99.1.0/24"]


def test_rows_that_need_no_uplink_do_not_wait_for_one() -> None:
    bench = Bench(Made("one", blackholes(1), needs_uplink=False))
    bench.host = None
    assert bench.controller.step().converged


def test_content_that_another_host_makes_good_is_put_in_force() -> None:
    """What is rejected for the host's sake is judged again when the host is another one."""

    class Needy(Made):
        def compile(self, host: Host) -> Any:
            return Made("", self.rows, error="" if host.mtu > 1500 else "mtu too small").compile(host)

    bench = Bench(Needy("jumbo", blackholes(1)))
    assert bench.controller.step().problems == ("mtu too small",)
    bench.host = HOST._replace(mtu=9000)
    report = bench.controller.step()
    assert (report.digest, report.problems) == ("jumbo", ())


def test_a_dry_run_finds_and_leaves() -> None:
    bench = Bench(Made("one", blackholes(1)), dry_run=True)
    report = bench.controller.step()
    assert [(str(one), one.done) for one in report.repairs] == [("route 254 10.99.1.0/24 (was missing)", False)]
    assert (report.converged, bench.holds) == (False, [])


def test_what_stays_broken_is_news_once_and_repaired_later() -> None:
    bench = Bench(Made("one", blackholes(1)))
    bench.controller.step()
    bench.kind.kernel.clear()
    run, bench.kind.run = bench.kind.run, lambda actions: [Failure("no memory")] * len(actions)  # type: ignore[method-assign]
    found = [one for _ in range(2) for one in bench.controller.step().repairs]
    assert [(one.done, one.new) for one in found] == [(False, True), (False, False)]
    bench.kind.run = run  # type: ignore[method-assign]
    assert [(one.done, one.new) for one in bench.controller.step().repairs] == [(True, False)]
    bench.kind.kernel.clear()
    assert [(one.done, one.new) for one in bench.controller.step().repairs] == [(True, True)]


def extra(bench: Bench) -> None:
    """Something of ours that nothing wants."""
    [row] = blackholes(9)
    bench.kind.kernel[row.key] = row


def test_content_from_the_disk_builds_and_deletes_nothing() -> None:
    bench = Bench(Rejected(("network.yaml:3:1: unknown key",)), kept=Made("one", blackholes(1, 2), stale=True))
    extra(bench)
    [first, _] = blackholes(1, 2)
    report = bench.controller.step()
    assert (report.digest, report.stale, report.problems) == ("one", True, ("network.yaml:3:1: unknown key",))
    assert bench.holds == ["10.99.1.0/24", "10.99.2.0/24", "10.99.9.0/24"]
    assert not report.converged
    assert "kept on disk" in report.errors[0]
    bench.kind.kernel[first.key] = first._replace(mtu=1400)
    bench.controller.step()
    assert bench.kind.kernel[first.key] == first, "what differs is repaired"

    bench.give(Made("one", blackholes(1, 2)))
    report = bench.controller.step()
    assert (report.stale, report.converged) == (False, True)
    assert bench.holds == ["10.99.1.0/24", "10.99.2.0/24"], "read live, it deletes"


def test_deletes_that_are_held_are_not_counted_by_the_limits() -> None:
    bench = Bench(Rejected(("bad",)), kept=Made("one", blackholes(1), stale=True, limits=Limits(0.1, 0)))
    for row in blackholes(*range(40, 80)):
        bench.kind.kernel[row.key] = row
    report = bench.controller.step()
    assert report.plans[-1].refusal is None
    assert "10.99.1.0/24" in bench.holds


def cluster(digest: str, *numbers: int, name: str = "a") -> Made:
    """A cluster of nodes with a route to each."""
    return Made(digest, blackholes(*numbers), name=name, nodes=tuple(f"n{number}" for number in numbers))


@pytest.mark.parametrize("newest", [cluster("two", 1), cluster("two", 1, 2, 3, 4, name="b")], ids=["shrunken", "another cluster"])
@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "on disk"])
def test_what_nobody_may_have_meant_waits_for_a_person(newest: Made, kept: bool) -> None:
    before = cluster("one", 1, 2, 3, 4)
    bench = Bench(newest, kept=before._replace(stale=True)) if kept else Bench(before)
    bench.controller.step()
    bench.give(newest)
    bench.kind.kernel.clear()
    report = bench.controller.step()
    assert report.suspect is not None
    assert (report.digest, report.content, report.problems) == ("one", newest.content, ())
    assert len(bench.holds) == 4, "drift is repaired with the last good one"

    report = bench.controller.step(confirmed={"content of something else"})
    assert (report.digest, report.used) == ("one", frozenset())
    report = bench.controller.step(confirmed={newest.content})
    assert (report.digest, report.suspect, report.used, report.converged) == ("two", None, {newest.content}, True)
    assert bench.controller.step().digest == "two", "it stays in force once the word is used up"

    bench.give(cluster("three", 1, 2, 3, 4, 5, 6, name="c"))
    assert bench.controller.step(confirmed={newest.content}).suspect is not None, "a word counts for its digest only"


def test_confirmed_content_that_cannot_be_in_force_yet_keeps_its_confirmation() -> None:
    bench = Bench(cluster("one", 1, 2, 3, 4))
    bench.controller.step()
    newest = cluster("two", 1)._replace(needs_uplink=True)
    bench.give(newest)
    bench.host = None
    report = bench.controller.step(confirmed={newest.content})
    assert (report.used, len(bench.holds)) == (frozenset(), 4)
    bench.host = HOST
    assert bench.controller.step(confirmed={newest.content}).used == {newest.content}


def test_a_refused_plan_runs_with_its_digest_only() -> None:
    bench = Bench(Made("many", blackholes(*range(40))))
    bench.controller.step()
    bench.give(Made("few", blackholes(1)))
    report = bench.controller.step()
    assert report.plans[-1].refusal is not None
    digest = report.plans[-1].digest
    report = bench.controller.step(confirmed={"0" * 64})
    assert (len(bench.holds), report.used) == (40, frozenset())
    report = bench.controller.step(confirmed={digest, "0" * 64})
    assert (bench.holds, report.used, report.converged) == (["10.99.1.0/24"], {digest}, True)


def test_the_same_content_again_is_not_compiled_again() -> None:
    compiled: list[str] = []

    class Counting(Made):
        def compile(self, host: Host) -> Any:
            compiled.append(self.digest)
            return super().compile(host)

    bench = Bench(Counting("one", blackholes(1)))
    bench.controller.step()
    bench.give(Counting("one", blackholes(1)))
    report = bench.controller.step()
    assert (compiled, report.converged, report.outcomes) == (["one"], True, ())


def test_rows_that_rest_are_left_alone_and_no_others() -> None:
    bench = Bench(Made("one", blackholes(1, 2)))
    bench.controller.step()
    bench.kind.kernel.clear()
    [first, _] = blackholes(1, 2)
    report = bench.controller.step(resting={bench.kind.ref(first): "File exists"})
    assert bench.holds == ["10.99.2.0/24"]
    assert report.errors == ("route 254 10.99.1.0/24: File exists",), "it is said as it was when it failed"
    assert report.failed == {}, "it was not tried"
    assert bench.controller.step().converged


def test_a_row_whose_line_fails_is_told_with_the_reason() -> None:
    bench = Bench(Made("one", blackholes(1, 2)))
    [first, _] = blackholes(1, 2)
    run = bench.kind.run

    def some(actions: Sequence[Action]) -> list[Failure | None]:
        run([action for action in actions if action.change.row != first])
        return [Failure("no memory") if action.change.row == first else None for action in actions]

    bench.kind.run = some  # type: ignore[method-assign]
    assert bench.controller.step().failed == {bench.kind.ref(first): "no memory"}


def test_a_look_at_some_kinds_alone() -> None:
    bench = Bench(Made("one", blackholes(1)))
    assert not bench.controller.unchanged(["route"]), "before the first round nothing is known"
    bench.controller.step()
    assert bench.controller.unchanged(["route"])
    bench.kind.kernel.clear()
    assert not bench.controller.unchanged(["route"])
    bench.kind.run = lambda actions: [Failure("no memory")] * len(actions)  # type: ignore[method-assign]
    bench.controller.step()
    assert not bench.controller.unchanged(["route"]), "a round is due while anything is left to do"


UNDOING_IT = Journal("cut", "n1", 0.0, "an earlier one", ())


@pytest.mark.parametrize("left", [{QUARANTINE: {"cut": "no answer"}}, {UNDOING: UNDOING_IT._asdict()}], ids=["done", "not written down"])
def test_what_was_undone_waits_for_a_word_whichever_nodes_there_are(left: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, said in left.items():
        (folder / name).write_text(json.dumps(said))
    trials = Trials(tmp_path, Kinds([Remembered()]))
    bench = Bench(Made("good", blackholes(1)), trials=trials)
    bench.controller.step()
    for nodes in ((), ("n1",), ("n1", "n2")):
        bench.give(Made("cut", blackholes(2), nodes=nodes))
        report = bench.controller.step(confirmed=["content cut"])
        assert report.suspect is not None
        assert "was put in place and undone" in report.suspect.reason
        assert (report.content, report.rolled_back, bench.holds) == ("cut", "cut", ["10.99.1.0/24"])


def test_a_word_has_what_was_undone_tried_again(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / QUARANTINE).write_text(json.dumps({"cut": "no answer"}))
    bench = Bench(Made("cut", blackholes(2)), trials=Trials(tmp_path, Kinds([Remembered()])))
    assert bench.controller.step().digest == ""
    report = bench.controller.step(confirmed=["cut"])
    assert (report.used, bench.holds) == ({"cut"}, ["10.99.2.0/24"])
    assert bench.controller.step().rolled_back == ""


def test_a_repair_that_cuts_off_is_not_tried_again_and_again_while_the_newest_content_is_not_valid(tmp_path: Path) -> None:
    tried: list[str] = []
    answers = [""]

    class Decided:
        def before(self, plan: Any, seen: Any) -> str:
            tried.append(plan.digest)
            return ""

        def decide(self) -> str:
            return answers[-1]

    class OnTrial(Made):
        def trial(self, trials: Trials, look: Any) -> Any:
            return Decided()

    bench = Bench(OnTrial("good", blackholes(1)), trials=Trials(tmp_path, Kinds([Remembered()])))
    assert bench.controller.step().converged
    bench.give(Rejected(("network.yaml:3: unknown key",)))
    tried.clear()
    answers.append("no answer")
    bench.kind.kernel.clear()
    assert any(error.startswith("undone: ") for error in bench.controller.step().errors)
    bench.kind.kernel.clear()
    report = bench.controller.step()
    assert (len(tried), report.digest, bench.holds) == (1, "", [])
