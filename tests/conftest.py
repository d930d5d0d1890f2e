"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import effort
from tests.namespaces import fresh_namespace, why_not

effort.load()


@pytest.fixture(autouse=True)
def state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a restart is each test's own, also where it starts a process without saying where."""
    monkeypatch.setenv("PLUMBLINE_STATE", str(tmp_path / "state-of-this-test"))


@pytest.fixture(scope="session")
def namespaces_can_be_made() -> None:
    """Skips, with the reason, where the machine allows no network namespaces."""
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def netns(namespaces_can_be_made: None) -> Iterator[str]:
    """The test runs inside a namespace of its own; yields its name."""
    with fresh_namespace() as name:
        yield name
