"""The engine by itself, on two made-up kinds: plans, order, guards, and rounds that meet faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from reconciler.engine.guard import Limits
from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Action, Origin, Verb, Wanted, with_fields
from reconciler.engine.reader import Scope
from reconciler.engine.round import Failure, Result, Round
from tests.engine import child, parent
from tests.engine.child import Child, ChildKey
from tests.engine.parent import Parent, ParentKey

KINDS = Kinds([parent.KIND, child.KIND])


class FakeNode:
    """Holds rows; a hook may refuse, ignore or interfere."""

    def __init__(self, *rows: Any) -> None:
        self.rows: dict[str, list[Any]] = {"parent": [], "child": []}
        for row in rows:
            self.rows[KINDS.of(row).name].append(row)
        self.unobservable: set[str] = set()
        self.ran: list[str] = []
        self.hook: Callable[[Action], Failure | str | None] = lambda action: None

    def visit(self, netns: Sequence[str]) -> AbstractContextManager[Mapping[str, str]]:
        return nullcontext({})

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        return [self._one(action) for action in actions]

    def _one(self, action: Action) -> Failure | None:
        interference = self.hook(action)
        if isinstance(interference, Failure):
            return interference
        self.ran += [str(line) for line in action.lines]
        if interference == "no effect":
            return None
        mine = self.rows[action.change.kind]
        if action.verb is Verb.DELETE:
            mine[:] = [row for row in mine if row != action.change.old]
            if action.change.kind == "parent":
                name = action.change.old.key.name
                self.rows["child"] = [row for row in self.rows["child"] if row.parent != name]
        elif action.verb is Verb.UPDATE:
            mine[:] = [with_fields(action.change.new, origin=()) if row == action.change.old else row for row in mine]
        else:
            mine.append(with_fields(action.change.new, origin=()))
        return None


def p(name: str, **more: Any) -> Parent:
    return Parent(ParentKey("", name), **more)


def c(name: str, **more: Any) -> Child:
    return Child(ChildKey("", name), **more)


def converge(node: FakeNode, *rows: Any, limits: Limits = Limits(), **more: Any) -> Result:
    wanted, clashes = merge(KINDS, rows)
    assert not clashes
    return Round(node, KINDS, limits=limits, name="n1").converge(Scope(("",), wanted), **more)  # type: ignore[arg-type]


def test_creates_parents_first_and_deletes_children_first() -> None:
    node = FakeNode()
    assert converge(node, c("r", parent="a"), p("a")).converged
    assert node.ran == ["ip link add a", "ip route add r"]
    node.ran.clear()
    assert converge(node).converged
    assert node.ran == ["ip route del r", "ip link del a"]


def test_an_equal_node_runs_nothing() -> None:
    node = FakeNode(p("a"), c("r", parent="a"))
    result = converge(node, p("a"), c("r", parent="a"))
    assert result.converged
    assert len(result.plans) == 1
    assert node.ran == []


def test_a_replaced_parent_takes_its_children_along_and_they_are_made_again() -> None:
    node = FakeNode(p("a", colour="red"), c("r", parent="a"), c("other"))
    assert converge(node, p("a", colour="blue"), c("r", parent="a"), c("other")).converged
    assert node.ran == ["ip route del r", "ip link del a", "ip link add a", "ip route add r"]


def test_a_deletion_that_frees_a_claim_comes_first() -> None:
    node = FakeNode(p("a", slot=7), c("r", parent="a"))
    assert converge(node, p("b", slot=7), c("r", parent="b")).converged
    assert node.ran == ["ip route del r", "ip link del a", "ip link add b", "ip route add r"]


def test_children_move_away_from_a_parent_that_dies_late() -> None:
    node = FakeNode(p("a"), c("r", parent="a"))
    assert converge(node, p("b"), c("r", parent="b")).converged
    assert node.ran == ["ip link add b", "ip route set r", "ip link del a"]


def test_a_foreign_name_is_a_conflict_that_blocks_what_needs_it_and_nothing_else() -> None:
    foreign = p("a", ours=False)
    node = FakeNode(foreign)
    result = converge(node, p("a", colour="x"), c("r", parent="a"), p("b"), c("s", parent="b"))
    assert not result.converged
    assert node.rows["parent"][0] == foreign
    assert node.ran == ["ip link add b", "ip route add s"]
    assert any("parent a exists and is not ours" in error and "adopt: true" in error for error in result.errors)
    (held,) = [action for action in result.last.actions if action.held]
    assert held.held == "needs parent a, which is refused"


def test_a_foreign_claim_is_a_conflict() -> None:
    node = FakeNode(p("a", slot=7, ours=False))
    result = converge(node, p("b", slot=7))
    assert node.ran == []
    assert "parent b needs slot 7, which parent a holds" in result.errors[0]


def test_an_adopted_row_is_updated_and_left_when_it_leaves_the_spec() -> None:
    node = FakeNode(p("a", ours=False))
    assert converge(node, p("a", size=5, ours=False, adopt=True)).converged
    assert node.ran == ["ip link set a"]
    assert converge(node).converged
    assert node.ran == ["ip link set a"]


def test_a_second_row_of_ours_under_one_key_goes() -> None:
    node = FakeNode(c("r", value=1), c("r", value=2))
    assert converge(node, c("r", value=1)).converged
    assert node.ran == ["ip route del r"]
    assert node.rows["child"] == [c("r", value=1)]


def test_what_cannot_be_observed_is_not_taken_as_absent() -> None:
    node = FakeNode(p("a"), c("r", parent="a"))
    node.unobservable = {"parent"}
    result = converge(node, c("s", parent="a"))
    assert not result.converged
    assert node.ran == ["ip route del r"]  # that one was seen, and is ours
    assert any("parent does not answer" in error for error in result.errors)


def test_an_update_without_effect_is_an_error_and_no_loop() -> None:
    node = FakeNode(p("a", size=1))
    node.hook = lambda action: "no effect"
    result = converge(node, p("a", size=2))
    assert node.ran == ["ip link set a"]
    assert ["no effect" in error for error in result.errors] == [True]


def test_what_needs_a_failed_action_is_skipped_and_the_rest_runs() -> None:
    node = FakeNode()
    node.hook = lambda action: Failure("Operation not permitted") if action.ref.key[1] == "a" else None
    result = converge(node, p("a"), p("b"), c("r", parent="a"), c("s", parent="b"))
    assert node.ran == ["ip link add b", "ip route add s"]
    errors = "\n".join(result.errors)
    assert "parent a: Operation not permitted" in errors
    assert "child r: skipped: needs parent a, which failed" in errors


def test_lines_that_never_ran_are_run_in_the_next_pass_and_the_culprit_alone() -> None:
    """A tool that gives up at a line leaves what stands behind it undone."""
    node = FakeNode()
    batches: list[list[str]] = []

    def run(actions: Sequence[Action]) -> list[Failure | None]:
        batches.append([action.ref.key[1] for action in actions])
        done: list[Failure | None] = []
        ended = False
        for action in actions:
            if action.ref.key[1] == "bad" or ended:
                ended = True
                done.append(Failure("invalid argument", ran=len(actions) == 1))
            else:
                done.append(node._one(action))
        return done

    node.run = run  # type: ignore[method-assign]
    result = converge(node, c("x"), c("bad"), c("y"))
    assert {row.key.name for row in node.rows["child"]} == {"x", "y"}
    assert ["bad"] in batches
    assert any("child bad: invalid argument" in error for error in result.errors)


def test_a_parent_that_changed_hands_is_not_written_to() -> None:
    """Somebody deletes our device and makes another one of its name while the plan runs."""
    node = FakeNode(p("a", index=1), p("z", size=1, index=2))

    def hook(action: Action) -> None:
        if action.ref.key[1] == "z":
            node.rows["parent"] = [p("a", ours=False, index=9) if row.key.name == "a" else row for row in node.rows["parent"]]

    node.hook = hook
    result = converge(node, p("a", index=1), p("z", size=2), c("r", parent="a"))
    assert "ip route add r" not in node.ran
    assert any("parent a" in error for error in result.errors)


def test_rows_that_wait_come_after_everything_else_has_converged() -> None:
    node = FakeNode()
    result = converge(node, c("last", last=True), p("a"))
    assert result.converged
    assert node.ran == ["ip link add a", "ip route add last"]
    assert result.first.actions[-1].held == "after everything else is in place"


def test_rows_that_wait_stay_out_while_something_fails() -> None:
    node = FakeNode()
    node.hook = lambda action: Failure("no") if action.ref.kind == "parent" else None
    converge(node, c("last", last=True), p("a"))
    assert node.rows["child"] == []


def test_a_plan_that_takes_away_too_much_is_refused_until_its_digest_is_confirmed() -> None:
    rows = [c(f"r{number}") for number in range(100)]
    node = FakeNode(*rows)
    refused = converge(node, *rows[:60])
    assert node.ran == []
    assert refused.last.refusal is not None
    assert "40 of our 100 child rows" in refused.last.refusal.reason
    assert converge(node, *rows[:60], confirmed=refused.last.digest).converged
    assert len(node.rows["child"]) == 60


@pytest.mark.parametrize(("total", "kept"), [(20, 0), (100, 70)])
def test_small_deletions_pass_the_guard(total: int, kept: int) -> None:
    rows = [c(f"r{number}") for number in range(total)]
    assert converge(FakeNode(*rows), *rows[:kept]).converged


def test_expect_runs_that_plan_or_nothing() -> None:
    node = FakeNode()
    planned = Round(node, KINDS, name="n1").plan(Scope(("",), merge(KINDS, [p("a")])[0]))[0]  # type: ignore[arg-type]
    node.rows["parent"].append(p("other"))
    result = converge(node, p("a"), expect=planned.digest)
    assert node.ran == []
    assert "read it again" in result.errors[0]
    node.rows["parent"].clear()
    assert converge(node, p("a"), expect=planned.digest).converged


def test_two_intents_that_agree_merge_and_two_that_do_not_name_both_lines() -> None:
    def said(line: int) -> tuple[Origin, ...]:
        return (Origin("test", "thing", f"network.yaml:{line}"),)

    wanted, clashes = merge(KINDS, [p("a", origin=said(1)), p("a", origin=said(2))])
    assert not clashes
    (row,) = wanted.rows("parent")
    assert [origin.where for origin in row.origin] == ["network.yaml:1", "network.yaml:2"]
    _, clashes = merge(KINDS, [p("a", size=1, origin=said(1)), p("a", size=2, origin=said(2))])
    assert "parent a is wanted twice with a different size" in str(clashes[0])
    assert "network.yaml:1" in str(clashes[0])
    assert "network.yaml:2" in str(clashes[0])


def test_one_claim_wanted_twice_is_a_clash() -> None:
    _, clashes = merge(KINDS, [p("a", slot=3), p("b", slot=3)])
    assert "only one of parent a and parent b can have slot 3" in str(clashes[0])


def test_an_empty_wanted_empties_only_what_is_ours() -> None:
    foreign = c("theirs", ours=False)
    node = FakeNode(foreign, c("mine"))
    result = Round(node, KINDS, name="n1").converge(Scope(("",), Wanted()))  # type: ignore[arg-type]
    assert result.converged
    assert node.rows["child"] == [foreign]


def test_what_somebody_else_took_away_to_the_last_is_told_although_nothing_was_tried_for_it() -> None:
    names = [f"b{number}" for number in range(10)]
    node = FakeNode(*(p(name) for name in names))

    def thief(action: Action) -> None:
        node.rows["parent"].remove(next(row for row in node.rows["parent"] if row.key.name in names and row.key.name > action.ref.key[1]))

    node.hook = thief
    node.rows["parent"].remove(p("b0"))
    result = converge(node, *(p(name) for name in names))
    assert not result.converged
    assert any(error.startswith(f"{result.last.actions[0].ref}: is not as it should be") for error in result.errors), result.errors


def test_beside_a_conflict_other_rows_that_are_held_are_told() -> None:
    node = FakeNode(p("a", ours=False))
    result = converge(node, p("a", colour="x"), c("r", parent="a"), c("s", parent="nosuch"))
    assert [error for error in result.errors if "child s" in error] == ["child s: needs parent nosuch, which does not exist"]
    assert not any("child r" in error for error in result.errors), "what hangs on the conflict is not told one by one"


def test_what_something_stood_in_the_way_of_that_goes_later_in_the_pass_is_tried_again() -> None:
    node = FakeNode(p("old"))
    gone = {"old": False}

    def hook(action: Action) -> Failure | None:
        if action.ref.key == ParentKey("", "old"):
            gone["old"] = True
            return None
        return None if gone["old"] else Failure("File exists")

    node.hook = hook
    result = converge(node, p("new"), c("r", parent="new"))
    assert result.converged
    assert not result.errors


def test_what_is_refused_twice_is_not_tried_a_third_time() -> None:
    node = FakeNode(p("old"))
    asked: list[str] = []

    def hook(action: Action) -> Failure | None:
        asked.append(action.ref.key.name)
        return Failure("no") if action.ref.key == ParentKey("", "new") else None

    node.hook = hook
    assert not converge(node, p("new")).converged
    assert asked.count("new") == 2


class SwappedAtTheSecondLook(set[str]):
    """For `unobservable`: between plumbline's first look at parents and its second, somebody's own stands under their name."""

    def __init__(self, node: FakeNode, foreign: Parent) -> None:
        super().__init__()
        self._node, self._foreign, self._looks = node, foreign, 0

    def __contains__(self, name: object) -> bool:
        self._looks += name == "parent"
        if self._looks == 2:
            self._node.rows["parent"] = [self._foreign]
        return False


@pytest.mark.parametrize(
    "before", [(), (p("a"),), (p("a", colour="red"), c("r", parent="a")), (p("a"), c("r", parent="a"), c("old", parent="a"))]
)
def test_nothing_is_made_or_removed_in_what_changed_hands(before: tuple[Any, ...]) -> None:
    node = FakeNode(*before)
    node.unobservable = SwappedAtTheSecondLook(node, p("a", ours=False))
    result = converge(node, p("a", colour="blue" if before else ""), c("r", parent="a"))
    assert node.ran == []
    assert any("parent a" in error for error in result.errors)
