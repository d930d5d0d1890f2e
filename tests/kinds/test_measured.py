"""The attribute tables against the running kernel.

For every attribute with values to go between: the row is made with the first,
the plan towards the second says what the table says (in place or replaced), its
lines pasted into a shell have the effect, plumbline then sees it as drift of the
first, and repairs it in one round.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from reconciler.engine.merge import merge
from reconciler.engine.model import Verb, Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from tests.namespaces import sh
from tests.rows import build

KINDS = all_kinds()


def measured() -> list[Any]:
    found = []
    for name, kind in KINDS.items():
        path = kind.folder / "attributes.yaml"
        table = yaml.safe_load(path.read_text()) if path.exists() else {}
        if "base" not in table:
            continue  # measured by a test of the kind's own
        for attribute, row in table["attributes"].items():
            if "from" in row:
                found.append(pytest.param(name, table, attribute, row, id=f"{name}.{attribute}"))
    return found


def scope(name: str, said: dict[str, Any]) -> Scope:
    wanted, clashes = merge(KINDS, [build(KINDS[name], said)])
    assert not clashes
    return Scope(("",), wanted)


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "table", "attribute", "row"), measured())
def test_attribute(netns: str, name: str, table: dict[str, Any], attribute: str, row: dict[str, Any]) -> None:
    sh(
        f"{table['link']} && ip link set dev0 address 02:00:00:00:00:01 && ip addr add 10.94.1.1/24 dev dev0 && "
        "ip addr add fd94:1::1/64 dev dev0 nodad && ip link set dev0 up"
    )
    sh("ip link set dev0 group 0" if name == "route" else ":")
    base = row.get("base", table["base"])
    first, second = scope(name, base | {attribute: row["from"]}), scope(name, base | {attribute: row["to"]})
    node = KernelNode()
    # Only this kind: the device itself is the test's, and other kinds would see it as drift.
    one = type(KINDS)([KINDS[name], _Unmanaged(KINDS["link"])])
    engine = Round(node, one, name="n1")
    made = engine.converge(first)
    assert made.converged, (made.errors, made.last)

    plan, _ = engine.plan(second)
    verbs = [action.verb for action in plan.actions]
    assert verbs == ([Verb.UPDATE] if row["change"] == "in place" else [Verb.DELETE, Verb.CREATE]), plan.actions
    sh("\n".join(str(line) for action in plan.actions for line in action.lines))
    assert engine.plan(second)[0].empty, "the pasted lines did not do what apply does"

    drift, _ = engine.plan(first)
    assert not drift.empty, "the change from outside was not seen"
    assert attribute in " ".join(action.note for action in drift.actions), drift.actions
    repaired = engine.converge(first)
    assert repaired.converged, (repaired.errors, repaired.last)
    assert len(repaired.plans) == 2, "one round"
    node.close()

    gone = Round(node, one, name="n1").converge(Scope(("",), Wanted()))
    assert gone.converged, (gone.errors, gone.last)
    node.close()


def _Unmanaged(kind: Any) -> Any:
    """The link kind as an observer only: it deletes nothing."""

    class Observer(type(kind)):  # type: ignore[misc]
        deletes = False

    return Observer()
