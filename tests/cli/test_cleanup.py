"""cleanup beside a daemon, which would put everything back."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from reconciler.cli.changes import cleanup
from reconciler.cli.trouble import CannotGoOn
from reconciler.kernel.lock import NamespaceLock

pytestmark = pytest.mark.kernel


def test_it_waits_for_the_daemon_to_be_gone(netns: str) -> None:
    lock = NamespaceLock()
    with pytest.raises(
        CannotGoOn, match=r"a daemon would put back what is removed: another plumbline daemon .* keeps this network namespace"
    ):
        CliRunner().invoke(cleanup, ["--yes"], standalone_mode=False, catch_exceptions=False)
    lock.close()
    assert CliRunner().invoke(cleanup, ["--yes"], standalone_mode=False, catch_exceptions=False).return_value == 0
    NamespaceLock().close()  # and it is free again
