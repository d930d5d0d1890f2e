"""Every example, planned for every node against an empty one → checked-in text. `make golden` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.cli.inputs import offline_plan, read_inputs
from reconciler.engine.model import WAITS, Conflict, Refusal
from reconciler.engine.render import Renderer
from reconciler.engine.text import length, printed, text
from reconciler.kinds import all_kinds

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted(ROOT.glob("examples/*/network.yaml"))
FACTS = ("pods.yaml", "services.yaml")  # what lies beside an example's network.yaml


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_golden(example: Path) -> None:
    inputs = read_inputs(example, [file for name in FACTS if (file := example.parent / name).exists()])
    renderer = Renderer(all_kinds(), unknown_allowed=True)
    plans = [offline_plan(inputs, node, renderer) for node in inputs.facts.nodes]
    found = "\n".join(text(plan, "empty node") for plan in plans)
    golden = Path(__file__).parent / f"{example.parent.name}.txt"
    if os.environ.get("PLUMBLINE_GOLDEN") == "write":
        golden.write_text(found)
    assert golden.read_text() == found
    assert [length(plan) for plan in plans] == [len(list(printed(plan))) for plan in plans]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 1


def test_a_plan_is_as_long_as_it_is_printed() -> None:
    inputs = read_inputs(EXAMPLES[0], [])
    plan = offline_plan(inputs, next(iter(inputs.facts.nodes)), Renderer(all_kinds(), unknown_allowed=True))
    held = [action._replace(held="needs something") for action in plan.actions[:2]]
    row = plan.actions[0].change.new
    refused = Conflict(plan.actions[0].change.kind, row, row, "exists", "remove it")
    for one in (
        plan._replace(actions=(*held, *plan.actions[2:])),
        plan._replace(actions=tuple(action._replace(held=WAITS) for action in plan.actions)),
        plan._replace(conflicts=(refused,), failures=("route: no answer", "link: no answer"), refusal=Refusal("too much", "confirm it")),
    ):
        assert length(one) == len(list(printed(one)))
