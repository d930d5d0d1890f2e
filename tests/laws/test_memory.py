"""What a daemon remembers of a state that was in order never changes what it plans."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engine.guard import Limits
from reconciler.engine.merge import merge
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from tests.laws.simulated import KINDS
from tests.laws.test_laws import populated, states, unique


def _round(node: Any) -> Round:
    return Round(node, KINDS, limits=Limits(1.0, 1000), name="n1")


def _scope(rows: list[Any]) -> Scope:
    return Scope(("",), merge(KINDS, unique(rows))[0])


@settings(max_examples=80, deadline=None)
@given(states(foreign=True), states(foreign=False), states(foreign=False), st.data())
def test_a_plan_made_with_memory_is_the_plan_made_without(
    before: list[Any], wanted: list[Any], after: list[Any], data: st.DataObject
) -> None:
    node = populated(unique(before))
    lasting = _round(node)
    scope = _scope(wanted)
    lasting.converge(scope)
    for broken in data.draw(st.lists(st.sampled_from(sorted(node.rows)), max_size=4)):
        rows = node.rows[broken]
        if rows:
            del rows[data.draw(st.integers(0, len(rows) - 1))]
    kept = [row for rows in scope.wanted._rows.values() for row in rows.values() if data.draw(st.booleans())]
    for one in (scope, _scope(kept), _scope(kept + after), _scope(after)):
        assert lasting.plan(one)[0] == _round(node).plan(one)[0]
        lasting.converge(one)
