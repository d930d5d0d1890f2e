"""Folders that wake whoever waits for them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.kernel.folders import FolderEvents


@pytest.fixture
def events() -> Iterator[FolderEvents]:
    one = FolderEvents()
    yield one
    one.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "new").write_text("a"),
        lambda folder: (folder / "there").write_text("b"),
        lambda folder: (folder / "there").unlink(),
        lambda folder: (folder / "there").rename(folder / "other"),
        lambda folder: (folder / "link").symlink_to("there"),
        lambda folder: shutil.rmtree(folder),
    ],
    ids=["new", "written", "unlinked", "renamed", "link", "removed"],
)
def test_a_change_wakes_once(tmp_path: Path, events: FolderEvents, change: Callable[[Path], None]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "there").write_text("a")
    assert events.watch([str(folder)])
    assert not events.wait(0)
    change(folder)
    assert events.wait(5)
    assert not events.wait(0)


def test_a_folder_made_anew_is_watched_anew_and_others_no_more(tmp_path: Path, events: FolderEvents) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    events.watch([str(one), str(two)])
    shutil.rmtree(one)
    one.mkdir()
    assert events.watch([str(one)])
    events.drain()
    (two / "file").write_text("a")
    assert not events.wait(0)
    (one / "file").write_text("a")
    assert events.wait(0)


def test_what_cannot_be_watched_is_told(tmp_path: Path, events: FolderEvents) -> None:
    (tmp_path / "file").write_text("a")
    assert not events.watch([str(tmp_path / "missing")])
    assert not events.watch([str(tmp_path / "file"), str(tmp_path)])
    (tmp_path / "other").write_text("a")
    assert events.wait(0), "the one that is there is watched all the same"


def test_a_wait_is_ended_from_another_thread(events: FolderEvents) -> None:
    threading.Thread(target=events.wake).start()
    assert events.wait(5)
