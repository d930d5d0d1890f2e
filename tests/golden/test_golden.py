"""Every example, planned for every node against an empty one → checked-in text. `make golden` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.cli.inputs import offline_plan, read_inputs
from reconciler.engine.render import Renderer
from reconciler.engine.text import text
from reconciler.kinds import all_kinds

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted(ROOT.glob("examples/*/network.yaml"))
FACTS = ("pods.yaml", "services.yaml")  # what lies beside an example's network.yaml


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_golden(example: Path) -> None:
    inputs = read_inputs(example, [file for name in FACTS if (file := example.parent / name).exists()])
    renderer = Renderer(all_kinds(), unknown_allowed=True)
    found = "\n".join(text(offline_plan(inputs, node, renderer), "empty node") for node in inputs.facts.nodes)
    golden = Path(__file__).parent / f"{example.parent.name}.txt"
    if os.environ.get("PLUMBLINE_GOLDEN") == "write":
        golden.write_text(found)
    assert golden.read_text() == found


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 1
