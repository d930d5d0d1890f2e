"""Labs of a test's own: a name nobody else has, gone afterwards."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from reconciler import lab as labs

_numbers = itertools.count()


@pytest.fixture
def name(namespaces_can_be_made: None) -> Iterator[str]:
    """A name for a lab, which is taken down when the test has ended."""
    chosen = f"plt-lab-{os.getpid()}-{next(_numbers)}"
    yield chosen
    labs.down(chosen)
