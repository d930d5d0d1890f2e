"""A daemon against a real kernel, in a namespace of its own, with content made by hand."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from reconciler.daemon.content import Rejected
from reconciler.daemon.status import as_json
from reconciler.facts.model import Host
from reconciler.intents import Compiled
from tests.daemon.made import Content, Made, blackholes, running
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


def routes() -> list[str]:
    return sorted(line.split()[1] for line in sh("ip route show proto 94").splitlines())


def test_it_puts_the_content_in_place_and_keeps_it_so(netns: str, tmp_path: Path) -> None:
    with running(Content(Made("one", blackholes(1, 2))), tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        assert routes() == ["10.99.1.0/24", "10.99.2.0/24"]

        sh("ip route del blackhole 10.99.1.0/24")
        assert one.until(lambda: routes() == ["10.99.1.0/24", "10.99.2.0/24"]) < 2, "by event, not by resync"
        one.until(lambda: one.daemon.status.repaired == 1)
        [line] = one.logged("repaired")
        assert (line["row"], line["was"]) == ("route 254 10.99.1.0/24", "was missing")

        sh("ip route replace blackhole 10.99.2.0/24 proto 94 mtu 1400")
        one.until(lambda: one.daemon.status.repaired == 2)
        sh("ip route add blackhole 10.99.3.0/24 proto 94")
        one.until(lambda: one.daemon.status.repaired == 3)
        assert [line["was"] for line in one.logged("repaired")][1:] == ["differs in mtu", "was not wanted"]
        assert routes() == ["10.99.1.0/24", "10.99.2.0/24"]
    assert routes() == ["10.99.1.0/24", "10.99.2.0/24"], "stopping leaves the data path"


def test_its_own_writes_and_those_of_others_wake_nobody(netns: str, tmp_path: Path) -> None:
    with running(Content(Made("one", blackholes(1))), tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        sh("ip link add pod0 type veth peer name pod1 && ip link set pod0 up && ip addr add 10.5.0.1/24 dev pod0 && ip link set pod1 up")
        sh("ip neigh add 10.5.0.9 lladdr 02:00:00:00:00:09 dev pod0; ip route add 10.6.0.0/16 dev pod0; ip link del pod0")
        sh("ip route del blackhole 10.99.1.0/24")
        one.until(lambda: one.daemon.status.repaired == 1)
        triggers = [line["triggers"] for line in one.logged("round")]
        assert triggers == ["start", "event: route deleted"], triggers


def test_invalid_content_leaves_the_last_good_in_force(netns: str, tmp_path: Path) -> None:
    content = Content(Made("good", blackholes(1)))
    with running(content, tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        content.inputs = Rejected(("network.yaml:3:5 nodes.n1.adress: unknown key; did you mean address?",))
        one.daemon.wake("config")
        one.until(lambda: bool(one.daemon.status.problems))
        status = one.daemon.status
        assert (status.digest, status.ready, status.converged) == ("good", False, True)
        assert "did you mean address?" in status.not_ready

        sh("ip route del blackhole 10.99.1.0/24")
        one.until(lambda: routes() == ["10.99.1.0/24"])
        one.until(lambda: one.daemon.status.repaired == 1)

        content.inputs = Made("better", blackholes(2))
        one.daemon.wake("config")
        one.until(lambda: one.daemon.status.ready)
        assert routes() == ["10.99.2.0/24"]
        assert one.daemon.status.repaired == 1, "a change that was asked for is no drift"


def test_nothing_is_touched_while_there_was_never_good_content(netns: str, tmp_path: Path) -> None:
    sh("ip route add blackhole 10.99.7.0/24 proto 94")
    with running(Content(Rejected(("rubbish",))), tmp_path) as one:
        one.until(lambda: one.daemon.status.rounds >= 1)
        assert not one.daemon.status.ready
        assert routes() == ["10.99.7.0/24"]


def test_a_dry_run_reports_and_changes_nothing(netns: str, tmp_path: Path) -> None:
    with running(Content(Made("one", blackholes(1))), tmp_path, dry_run=True) as one:
        one.until(lambda: one.daemon.status.found == 1)
        assert routes() == []
        said = as_json(one.daemon.status)
        assert (said["ready"], said["converged"], said["drift"]["repaired"]) == (False, False, 0)
        sh("ip route add blackhole 10.99.1.0/24 proto 94")
        one.until(lambda: one.daemon.status.ready)


def test_a_bad_row_holds_up_no_other_and_is_tried_again(netns: str, tmp_path: Path) -> None:
    bad = blackholes(1)[0]._replace(type="unicast", via="10.77.0.1", dev="v0")  # no such link
    with running(Content(Made("one", (bad, *blackholes(2)))), tmp_path) as one:
        one.until(lambda: one.daemon.status.rounds >= 2)
        assert routes() == ["10.99.2.0/24"]
        assert "10.99.1.0/24" in one.daemon.status.errors[0]
        sh("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && ip addr add 10.77.0.2/24 dev v0")
        one.until(lambda: one.daemon.status.converged)


def test_a_refused_plan_says_how_it_is_confirmed(netns: str, tmp_path: Path) -> None:
    content = Content(Made("many", blackholes(*range(40))))
    with running(content, tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        content.inputs = Made("few", blackholes(1))
        one.daemon.wake("config")
        one.until(lambda: one.daemon.status.refusal is not None)
        assert len(routes()) == 40
        status = one.daemon.status
        assert status.not_ready.endswith(f"plumbline apply {tmp_path}/network.yaml --node n1 --force {status.plan}")
        assert as_json(status)["refusal"]["digest"] == status.plan


class Faulty(Made):
    """A mistake of ours in an intent."""

    def compile(self, host: Host) -> Compiled:
        raise ZeroDivisionError("a mistake")


def test_a_round_that_crashes_is_told_and_the_next_one_comes(netns: str, tmp_path: Path) -> None:
    content = Content(Faulty("one"))
    with running(content, tmp_path) as one:
        one.until(lambda: len(one.logged("round failed")) >= 2, seconds=15)
        assert "ZeroDivisionError" in one.logged("round failed")[0]["exception"]
        assert not one.daemon.status.ready
        assert one.daemon.answer("/healthz").code == 200
        assert b'plumbline_rounds_total{result="crashed"}' in one.daemon.answer("/metrics").body
        content.inputs = Made("two", blackholes(1))
        one.daemon.wake("config")
        one.until(lambda: one.daemon.status.ready)


def test_the_status_can_be_asked_while_a_round_runs(netns: str, tmp_path: Path) -> None:
    class Slow(Made):
        def compile(self, host: Host) -> Compiled:
            entered.set()
            assert leave.wait(10)
            return Made("slow", blackholes(2)).compile(host)

    entered, leave = threading.Event(), threading.Event()
    content = Content(Made("one", blackholes(1)))
    with running(content, tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        content.inputs = Slow("slow")
        one.daemon.wake("config")
        assert entered.wait(5)
        assert one.daemon.answer("/readyz").body == b"new content is being put in place\n"
        assert one.daemon.answer("/healthz").code == 200
        assert json.loads(one.daemon.answer("/status").body)["spec"]["digest"] == "one"
        leave.set()
        one.until(lambda: one.daemon.status.ready)
        assert routes() == ["10.99.2.0/24"]
