"""The plugin, built once; a daemon of the test's own to ask."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cni.runtime import build, why_not


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why_not():
        pytest.skip(why_not())
    return build(tmp_path_factory.mktemp("cni"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is short enough for a Unix socket's path (108 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="plcni-"))
    yield folder
    shutil.rmtree(folder)
