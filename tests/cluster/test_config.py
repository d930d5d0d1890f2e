"""Watching a ConfigMap's folder as the kubelet writes it, and plain files as editors do."""

from __future__ import annotations

import os
import queue
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.cluster.config import ConfigWatch, files_of, read_content
from reconciler.kernel.folders import FolderEvents
from tests.cluster.configmap import ConfigMap

WAIT = 5  # seconds


class Watched:
    """A watch, and what it reports."""

    def __init__(self, *paths: Path, poll: float = 60, grace: float = 2) -> None:
        self.reports: queue.Queue[None] = queue.Queue()
        self.watch = ConfigWatch(paths, lambda: self.reports.put(None), FolderEvents(), poll=poll, grace=grace)
        self.content = self.watch.start()

    def changed(self) -> None:
        """Waits for a report; raises queue.Empty when none comes in time."""
        self.reports.get(timeout=WAIT)

    @property
    def quiet(self) -> bool:
        return self.reports.empty()


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*paths: Path, **how: float) -> Watched:
        made.append(Watched(*paths, **how))
        return made[-1]

    yield make
    for one in made:
        one.watch.stop()


def test_a_swap_is_reported_once(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    source = ConfigMap(tmp_path / "config")
    source.swap(network="a: 1")
    seen = watched(source.folder, poll=0.2)
    for number in range(3):
        source.swap(network=f"a: {number + 2}")
        seen.changed()
    source.swap(network="a: 4")  # the same content in a new folder: nothing to tell
    source.swap(network="a: 5")
    seen.changed()
    assert seen.quiet


def test_a_swap_is_noticed_by_event(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    """The poll is far too slow to do it."""
    source = ConfigMap(tmp_path / "config")
    source.swap(network="a: 1")
    seen = watched(source.folder, poll=1000)
    for number in range(3):
        source.swap(network=f"a: {number + 2}")
        seen.changed()


def test_a_file_more_and_a_file_less(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    source = ConfigMap(tmp_path / "config")
    source.swap(network="a: 1")
    seen = watched(source.folder, poll=0.2)
    source.swap(network="a: 1", nodes="b: 1")
    seen.changed()
    source.swap(network="a: 1")
    seen.changed()


def test_links_before_their_data(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "network.yaml").symlink_to("..data/network.yaml")
    seen = watched(folder, poll=0.2)
    assert "network.yaml" in seen.content.missing[0]
    (folder / "..1").mkdir()
    (folder / "..1/network.yaml").write_text("a: 1")
    (folder / "..data").symlink_to("..1")
    seen.changed()
    assert not read_content([folder]).missing


def test_a_folder_that_comes_later_and_one_made_anew(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    folder = tmp_path / "later"
    seen = watched(folder, poll=0.1, grace=0.2)
    assert seen.content.missing
    ConfigMap(folder).swap(network="a: 1")
    seen.changed()
    shutil.rmtree(folder)
    seen.changed()
    ConfigMap(folder).swap(network="a: 2")
    seen.changed()


def test_a_plain_file_that_an_editor_replaces(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    file = tmp_path / "network.yaml"
    file.write_text("a: 1")
    seen = watched(file, poll=0.1)
    file.unlink()  # missing for a moment: not a change
    file.write_text("a: 2")
    seen.changed()
    (tmp_path / "new").write_text("a: 3")
    os.rename(tmp_path / "new", file)
    seen.changed()
    (tmp_path / "neighbour.yaml").write_text("b: 1")
    file.write_text("a: 4")
    seen.changed()
    assert seen.quiet
    assert files_of(file) == [file]


def test_a_file_that_stays_away_is_a_change(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    file = tmp_path / "network.yaml"
    file.write_text("a: 1")
    seen = watched(file, poll=0.1, grace=0.2)
    file.unlink()
    seen.changed()
    assert read_content([file]).missing == (f"{file}: No such file or directory",)


def test_stopping_is_quick(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    (tmp_path / "network.yaml").write_text("a: 1")
    seen = watched(tmp_path, poll=1000)
    seen.watch.stop()
    assert not seen.watch._thread.is_alive()
