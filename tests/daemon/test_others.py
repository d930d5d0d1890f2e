"""Others on this host are named by a daemon that runs."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.daemon.process import Daemon
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


def test_a_foreign_firewall_is_named_in_the_status_the_log_and_a_metric(start: Callable[..., Daemon]) -> None:
    sh("nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'")
    daemon = start()
    daemon.until(daemon.ready)
    [found] = [one for one in daemon.status["opponents"] if one["sort"] == "forward-drop"]
    assert found["level"] == "problem"
    assert found["remedy"]
    assert [line["what"] for line in daemon.logged("somebody else on this host")].count(found["what"]) == 1
    assert 'plumbline_opponents{level="problem",sort="forward-drop"} 1.0' in daemon.get("/metrics")[1]
    sh("nft delete table ip filter; ip route del 10.244.3.0/24")
    daemon.until(lambda: daemon.status["drift"]["repaired"] == 1)
    assert found in daemon.status["opponents"], "not looked for in every round"
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: found not in daemon.status["opponents"])
