"""When content goes to the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.daemon.keeping import OFTEN, Keeper
from reconciler.daemon.state import StateFolder
from reconciler.daemon.step import Report
from tests.daemon.made import Made, nothing


class Kept:
    """What one daemon keeps, and what the next one would find."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keeper = Keeper(StateFolder(folder), nothing)
        self.keeper.open()

    def round(self, content: str, now: float) -> None:
        self.keeper.after(Report(content), Made(content), frozenset(), now, 0.0)

    @property
    def there(self) -> str:
        found = StateFolder(self.folder).load()
        return found.body.decode() if found else ""


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "state")
    yield made
    made.keeper.close()


def test_what_keeps_changing_is_written_now_and_then_and_its_last_word_too(kept: Kept) -> None:
    kept.round("one", 0.0)
    assert kept.there == "one"
    kept.round("two", 1.0)
    kept.round("three", 2.0)
    kept.keeper.write(OFTEN - 1, 0.0)
    assert kept.there == "one", "too soon"
    kept.keeper.write(OFTEN, 0.0)
    assert kept.there == "three", "and nobody has to ask for a round first"


def test_at_the_end_nothing_is_left_to_be_written(kept: Kept) -> None:
    kept.round("one", 0.0)
    kept.round("two", 1.0)
    kept.keeper.write(1.0, 0.0, at_once=True)
    assert kept.there == "two"


def test_what_came_from_the_disk_is_not_written_over_what_is_there(kept: Kept) -> None:
    kept.round("one", 0.0)
    kept.keeper.after(Report("old"), Made("old", stale=True), frozenset(), OFTEN, 0.0)
    assert kept.there == "one"
