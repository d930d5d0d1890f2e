"""Every kinds/*/cases/*.yaml: rows before, rows wanted → the exact lines. Adding a case adds a file, no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import reconciler.kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Observed, Seen
from reconciler.engine.pipeline import make_plan
from reconciler.engine.render import Renderer
from reconciler.kinds import all_kinds
from tests.rows import build

KINDS = all_kinds()
FOLDER = Path(reconciler.kinds.__file__).parent


def cases() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*/cases/*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            found.append(pytest.param(path.parts[-3], case, id=f"{path.parts[-3]}: {case['name']}"))
    return found


@pytest.mark.parametrize(("default", "case"), cases())
def test_case(default: str, case: dict[str, Any]) -> None:
    def rows(name: str) -> list[Any]:
        return [build(KINDS[said.get("kind", default)], said) for said in case.get(name, [])]

    wanted, clashes = merge(KINDS, rows("wanted"))
    assert not clashes
    observed: dict[str, Observed] = {name: Observed([]) for name in KINDS}
    for row in rows("before"):
        observed[KINDS.of(row).name].rows.append(row)
    plan = make_plan("n1", KINDS, Renderer(KINDS), wanted, Seen(observed))
    lines = [str(line) for action in plan.actions if not action.held for line in action.lines]
    assert lines == case["lines"]
    told = [conflict.reason for conflict in plan.conflicts] + [action.held for action in plan.actions if action.held]
    for part in case.get("conflicts", []):
        assert any(part in reason for reason in told), told
    if not case.get("conflicts"):
        assert not told


def test_every_kind_has_cases() -> None:
    assert {path.parts[-3] for path in FOLDER.glob("*/cases/*.yaml")} == set(KINDS)


def test_every_attribute_stands_in_its_table_with_a_case_file() -> None:
    for name, kind in KINDS.items():
        table = yaml.safe_load((kind.folder / "attributes.yaml").read_text())["attributes"]
        named = {attribute.split(".")[0] for attribute in table} | {"info", "port"}
        assert set(kind.attributes) - named == set(), f"{name}: these attributes are missing in its attributes.yaml"
        for attribute, row in table.items():
            assert (kind.folder / "cases" / row["case"]).is_file(), f"{name}.{attribute} names no case file"
