"""The table of faults in docs/cluster.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cluster.md").read_text()
TABLES = PAGE.partition("## What can go wrong")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TABLES.splitlines() if line.startswith("| ")]


def faults() -> list[list[str]]:
    return [row for row in ROWS if len(row) == 3 and row[2] not in ("", "shown by")]


def test_every_fault_has_its_test() -> None:
    assert len(faults()) > 20
    assert all("`" in row[2] for row in faults()), [row for row in faults() if "`" not in row[2]]


@pytest.mark.parametrize("row", faults(), ids=lambda row: row[0][:50])
def test_it_is_there(row: list[str]) -> None:
    files = [ROOT / ("" if name.startswith("tests/") else "tests/faults") / name for name in re.findall(r"`([\w/]+\.py)`", row[2])]
    assert all(file.exists() for file in files), files
    here = [*files, *(ROOT / "tests/faults").glob("test_*.py")]
    for name in re.findall(r"`(test_\w+)`", row[2]):
        assert any(f"def {name}(" in file.read_text() for file in here), name
