"""When rounds are due, with time and chance made by hand."""

from __future__ import annotations

import pytest

from reconciler.daemon.schedule import FIRST_RETRY, SETTLE, Schedule


def highest(low: float, high: float) -> float:
    return high


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(60, highest)


def test_what_is_asked_comes_at_once_and_only_once(schedule: Schedule) -> None:
    schedule.ask("start", 0)
    schedule.ask("config", 0)
    assert schedule.take(0) == ("start", "config")
    schedule.done(1, converged=True)
    assert schedule.take(1) == ()


def test_events_settle_and_one_round_answers_all(schedule: Schedule) -> None:
    schedule.heard(["link deleted"], 10)
    assert schedule.take(10) == ()
    schedule.heard(["fdb deleted", "link deleted"], 10 + SETTLE / 2)
    assert schedule.take(10 + SETTLE) == ("event: fdb deleted, link deleted",)


def test_events_that_never_end_do_not_put_the_round_off(schedule: Schedule) -> None:
    for step in range(10):
        schedule.heard(["link changed"], 10 + step * SETTLE / 5)
    assert schedule.next == 10 + SETTLE


def test_looking_for_nothing_takes_a_thousandth_of_a_core_at_most() -> None:
    """Ten thousand peers are looked at in a fifth of a second; every minute that is too much."""
    often, seldom, chosen = Schedule(None, highest), Schedule(None, highest), Schedule(5, highest)
    for one, took in ((often, 0.03), (seldom, 0.2), (chosen, 0.2)):
        one.done(0, converged=True, took=took)
    assert [one.next for one in (often, seldom, chosen)] == pytest.approx([66, 220, 5.5])
    seldom.done(0, converged=True, took=5)
    assert seldom.next == pytest.approx(660), "but it is looked at"


def test_resync_with_jitter_and_polls_in_between(schedule: Schedule) -> None:
    schedule.done(0, converged=True)
    assert schedule.take(65.9) == ()
    assert schedule.take(66) == ("resync",)
    schedule.done(100, converged=True, polls=(30, 45))
    assert schedule.take(130) == ("poll",)


def test_a_look_that_finds_nothing_puts_nothing_else_off(schedule: Schedule) -> None:
    schedule.done(100, converged=True, polls=(30,), rested=165)
    assert schedule.take(130) == ("poll",)
    schedule.looked(130, (30,))
    assert schedule.take(160) == ("poll",)
    schedule.looked(160, (30,))
    assert schedule.take(165) == ("row",)
    schedule.done(165, converged=True, polls=(30,))
    assert schedule.next == 195
    schedule.heard(["link deleted"], 194.99)
    assert schedule.take(196) == ("event: link deleted", "poll"), "together with something else it is a round"


def test_failures_back_off_to_the_resync_and_success_forgets_them(schedule: Schedule) -> None:
    pauses = []
    now = 0.0
    for _ in range(9):
        schedule.done(now, converged=False)
        pauses.append(schedule.next - now)
        now = schedule.next
        assert "retry" in schedule.take(now)
    assert pauses == [FIRST_RETRY * factor for factor in (1, 2, 4, 8, 16, 32)] + [60, 60, 60]
    schedule.done(now, converged=True)
    schedule.take(schedule.next)
    schedule.done(now, converged=False)
    assert schedule.next - now == FIRST_RETRY


def test_a_backoff_does_not_hold_up_what_is_new(schedule: Schedule) -> None:
    for _ in range(9):
        schedule.done(0, converged=False)
    schedule.heard(["route deleted"], 1)
    assert schedule.take(1 + SETTLE) == ("event: route deleted",)


def test_a_row_that_rests_is_tried_when_it_may_be(schedule: Schedule) -> None:
    schedule.done(0, converged=True, rested=7)
    assert schedule.take(6.9) == ()
    assert schedule.take(7) == ("row",)
