"""Rows that change against plain dictionaries: every moment stays as it was, and differences are told whole."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.rows import Rows


class Key(NamedTuple):
    number: int


class Row(NamedTuple):
    key: Key
    value: int


numbers = st.integers(0, 9)
steps = st.lists(st.tuples(st.dictionaries(numbers, numbers, max_size=4), st.sets(numbers, max_size=4)), max_size=6)


def differing(before: dict[Any, Any], now: dict[Any, Any]) -> set[Any]:
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}


@given(st.dictionaries(numbers, numbers, max_size=6), steps, st.data())
def test_every_moment_stays_as_it_was(first: dict[int, int], changes: list[tuple[dict[int, int], set[int]]], data: st.DataObject) -> None:
    model = {Key(number): Row(Key(number), value) for number, value in first.items()}
    moments = [(Rows(model.values()), model)]
    for new, gone in changes:
        rows, model = moments[-1]
        made = [Row(Key(number), value) for number, value in new.items() if number not in gone]
        model = {key: row for key, row in model.items() if key.number not in gone} | {row.key: row for row in made}
        moments.append((rows.changed(made, [Key(number) for number in gone]), model))
    for earlier, (before, had) in enumerate(moments):
        for now, has in moments[earlier:]:
            keys = now.since(before)
            assert keys is not None
            assert set(keys) >= differing(had, has)
            assert (now == before) is (had == has)
        assert Rows().since(before) is None or not had
    for index in data.draw(st.permutations(range(len(moments)))):
        rows, model = moments[index]
        assert all(rows.get(Key(number)) == model.get(Key(number)) for number in range(10))
        if data.draw(st.booleans()):
            assert {row.key: row for row in rows} == model
            assert len(rows) == len(model)


def test_rows_that_do_not_come_from_each_other_are_compared_one_by_one() -> None:
    row = Row(Key(1), 1)
    assert Rows([row]) == Rows([row])
    assert Rows([row]) == [row]
    assert Rows([row]) != Rows([])
    assert Rows([row]).since([row]) is None
