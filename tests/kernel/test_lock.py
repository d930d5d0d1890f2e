"""One daemon per network namespace."""

from __future__ import annotations

import os

import pytest

from reconciler.kernel.lock import AlreadyRunning, NamespaceLock
from tests.namespaces import fresh_namespace

pytestmark = pytest.mark.kernel


def test_a_second_one_is_refused_and_told_who_holds_it(netns: str) -> None:
    first = NamespaceLock()
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}.*--dry-run"):
        NamespaceLock()
    first.close()
    NamespaceLock().close()


def test_another_namespace_has_its_own(netns: str) -> None:
    first = NamespaceLock()
    with fresh_namespace():
        NamespaceLock().close()
    first.close()
