"""The pages that people read are what the code does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.daemon.metrics import Metrics
from reconciler.daemon.reference import page
from reconciler.daemon.status import LastRound, Status, as_json

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_metrics_is_as_the_code_has_them() -> None:
    assert (DOCS / "metrics.md").read_text() == page(), "make metrics"


def test_every_metric_of_a_daemon_is_described() -> None:
    described = {one.name.removesuffix("_total") for one in Metrics("n1").described()}
    said = {line.split()[2] for line in Metrics("n1").text().decode().splitlines() if line.startswith("# TYPE ")}
    assert {name.removesuffix("_created").removesuffix("_total") for name in said} == described


def names(document: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, value in document.items():
        if isinstance(value, dict) and not before:
            yield from names(value, f"{name}.")
        else:
            yield before + name


def test_every_field_of_the_status_is_described() -> None:
    text = (DOCS / "daemon.md").read_text()
    fields = set(names({**as_json(Status("n1", "c", last=LastRound(0.0, (), 0.0, 0))), "lastRound": None, "refusal": None}))
    assert "spec.source" in fields
    assert [name for name in sorted(fields) if f"`{name}`" not in text] == []
