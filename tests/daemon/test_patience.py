"""Rows that rest: with time and chance made by hand."""

from __future__ import annotations

import pytest

from reconciler.daemon.doers import Doers
from reconciler.daemon.patience import FIGHT, FIRST_PAUSE, MEMORY, SLOWEST, Fight, Patience
from reconciler.engine.model import Ref
from reconciler.kernel.events import Event

ROW, OTHER = Ref("route", ("", 254, "10.1.0.0/16", 0, 0)), Ref("route", ("", 254, "10.2.0.0/16", 0, 0))


def highest(low: float, high: float) -> float:
    return high


def nobody(row: Ref) -> str:
    return ""


@pytest.fixture
def patience() -> Patience:
    return Patience(highest)


def test_a_row_that_fails_rests_longer_and_longer_and_no_other_does(patience: Patience) -> None:
    now, pauses = 0.0, []
    for _ in range(9):
        patience.tried({ROW: "no memory"}, {ROW, OTHER}, now)
        assert patience.resting(now) == {ROW: "no memory"}
        again = patience.next({ROW}, now)
        assert again is not None
        pauses.append(again - now)
        now = again
        assert patience.resting(now) == {}
    assert pauses == [FIRST_PAUSE * factor for factor in (1, 2, 4, 8, 16, 32)] + [SLOWEST] * 3


def test_a_row_that_did_after_all_starts_anew(patience: Patience) -> None:
    for now in range(5):
        patience.tried({ROW: "no memory"}, {ROW}, now)
    patience.tried({}, set(), 5)
    assert (patience.resting(5), patience.next({ROW}, 5), list(patience.failed)) == ({}, None, [])
    patience.tried({ROW: "no memory"}, {ROW}, 6)
    assert patience.next({ROW}, 6) == 6 + FIRST_PAUSE


def test_a_row_that_rests_is_still_a_failed_one(patience: Patience) -> None:
    """It was held and not tried: the pause goes on."""
    patience.tried({ROW: "no memory"}, {ROW}, 0)
    patience.tried({}, {ROW}, 0.5)
    assert patience.next({ROW}, 0.5) == FIRST_PAUSE


def test_what_made_it_fail_may_be_gone(patience: Patience) -> None:
    patience.tried({ROW: "no memory", OTHER: "no memory"}, {ROW, OTHER}, 0)
    patience.forget_failures([ROW])
    assert list(patience.resting(0)) == [OTHER]
    patience.forget_failures()
    assert patience.resting(0) == {}


def test_put_back_ten_times_in_a_minute_is_a_fight(patience: Patience) -> None:
    for number in range(FIGHT - 1):
        assert patience.repaired([ROW], nobody, number) == ()
    assert patience.resting(FIGHT) == {}
    [fight] = patience.repaired([ROW], lambda row: "bird (pid 7)", FIGHT)
    assert (fight.row, fight.times, fight.by) == (ROW, FIGHT, "bird (pid 7)")
    assert "bird (pid 7)" in patience.resting(FIGHT)[ROW]
    assert list(patience.resting(FIGHT)) == [ROW]


def test_whoever_was_told_of_once_is_the_other_party(patience: Patience) -> None:
    """What changes the row again while it is put back is told of before the next round, and so to nobody."""
    begun: tuple[Fight, ...] = ()
    for number in range(FIGHT):
        begun = patience.repaired([ROW, OTHER], lambda row: "bird (pid 812)" if row is ROW and number == 3 else "", number)  # noqa: B023
    assert {fight.row: fight.by for fight in begun} == {ROW: "bird (pid 812)", OTHER: ""}
    assert patience.repaired([ROW], nobody, FIGHT + MEMORY * 3) == ()
    begun = ()
    for number in range(1, FIGHT):
        begun = patience.repaired([ROW], nobody, FIGHT + MEMORY * 3 + number)
    assert [fight.by for fight in begun] == [""], "an hour later it may be another one"


def test_the_same_ten_times_in_an_hour_is_none(patience: Patience) -> None:
    for number in range(FIGHT * 3):
        assert patience.repaired([ROW], nobody, number * MEMORY / (FIGHT - 2)) == ()


def test_a_fight_slows_down_begins_once_and_ends_when_the_row_is_left_in_peace(patience: Patience) -> None:
    for number in range(FIGHT):
        patience.repaired([ROW], nobody, 10 + number / 10)
    now, pauses = 11.0, []
    for _ in range(8):
        [fight] = patience.fights(now)
        pauses.append(round(fight.pause))
        now = fight.until
        assert patience.resting(now) == {}
        assert patience.repaired([ROW], nobody, now) == (), "told once"
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    [fight] = patience.fights(now)
    assert "does not tell who" in fight.why
    assert patience.fights(fight.until + MEMORY) == ()
    assert patience.repaired([ROW], nobody, fight.until + MEMORY) == (), "the count begins anew"


def test_only_a_row_that_differs_is_waited_for(patience: Patience) -> None:
    for _ in range(FIGHT):
        patience.repaired([ROW], nobody, 0)
    assert patience.next(set(), 0) is None
    assert patience.next({ROW}, 0) == pytest.approx(1.1)


class TestDoers:
    EVENT = Event("route", True, 2, protocol=94, key="10.1.0.0/16", table=254, port=7)

    def test_the_row_of_an_event_is_found_and_its_process_asked_at_once_and_once(self) -> None:
        asked: list[int] = []

        def requester(port: int) -> str:
            asked.append(port)
            return f"bird (pid {port})"

        doers = Doers(requester, lambda port: "searched")
        for table in (254, 100):
            doers.note(self.EVENT._replace(table=table))
        assert (doers.who(ROW), doers.who(OTHER), asked) == ("bird (pid 7)", "", [7])
        doers.forget()
        assert doers.who(ROW) == ""

    def test_who_cannot_be_told_at_once_is_searched_for_when_somebody_asks(self) -> None:
        doers = Doers(lambda port: "", lambda port: f"found {port}")
        doers.note(self.EVENT)
        assert doers.who(ROW) == "found 7"

    @pytest.mark.parametrize(
        "event", [EVENT._replace(port=0), EVENT._replace(table=100), EVENT._replace(key=""), EVENT._replace(what="rule")]
    )
    def test_what_is_about_another_row_is_not_its_doer(self, event: Event) -> None:
        doers = Doers(str, str)
        doers.note(event)
        assert doers.who(ROW) == ""


def test_thousands_that_are_put_back_at_once_are_remembered_for_a_minute_and_no_longer(patience: Patience) -> None:
    many = [Ref("fdb", ("", "plumb0", str(number))) for number in range(5000)]
    for second in range(9):
        assert patience.repaired(many, nobody, float(second)) == ()
    assert {fight.row for fight in patience.repaired(many[:2], nobody, 9.0)} == set(many[:2])
    assert patience.repaired(many[2:3], nobody, 60.0) == (), "the first of ten is a minute ago"
    assert [fight.row for fight in patience.repaired(many[3:4] * 3, nobody, 60.5)] == many[3:4]
    patience.repaired((), nobody, 200.0)
    assert not patience._repairs
    assert not patience._rounds
