"""The daemon as a process of its own, on a folder like a mounted ConfigMap, keeping a fabric's node."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.configmap import ConfigMap
from tests.daemon.process import NETWORK, Daemon, held, node
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


def wanted_routes() -> bool:
    return [line.split()[0] for line in sh("ip route show proto 94").splitlines()] == ["10.244.2.0/24", "10.244.3.0/24"]


def test_whatever_is_broken_is_repaired_by_event(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    good = held()
    entry = next(line.split()[0] for line in sh("bridge fdb show dev plumb0").splitlines() if "dst 10.0.2.12" in line)
    breaks = (
        f"bridge fdb del {entry} dev plumb0",
        "ip route del 10.244.3.0/24",
        "ip neigh flush dev plumb0 nud permanent",
        "ip nexthop flush",
        "bridge fdb append 02:00:00:00:00:99 dev plumb0 dst 10.9.9.9 self permanent",
        "ip link set plumb0 mtu 1300",
        "nft delete element inet plumbline-overlay nodes '{ 10.0.2.12 }'",
        "nft add element inet plumbline-overlay nodes '{ 10.9.9.9 }'",
        "nft flush chain inet plumbline-overlay input",
        "nft delete table inet plumbline-overlay",
    )
    for number, command in enumerate(breaks):
        sh(command)
        assert daemon.until(lambda: held() == good) < 3, command
        daemon.until(lambda number=number: daemon.status["drift"]["repaired"] > number)  # type: ignore[misc]
    sh("ip link del plumb0")
    assert daemon.until(wanted_routes) < 3
    daemon.until(daemon.ready)
    names = " ".join(line["row"] for line in daemon.logged("repaired"))
    assert "link plumb0" in names
    assert f"fdb plumb0 {entry}" in names


def test_a_swap_is_followed_and_a_bad_one_is_not(start: Callable[..., Daemon], config: ConfigMap) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    good = held()
    before = daemon.status["spec"]["digest"]
    config.swap(network=NETWORK.replace("podCIDRs: [10.244.3.0/24]", "podCIDRs: [10.244.3.0/24"))
    daemon.until(lambda: bool(daemon.status["spec"]["problems"]))
    code, why = daemon.get("/readyz")
    assert code == 503
    assert "network.yaml" in why
    assert daemon.get("/healthz")[0] == 200
    assert daemon.status["spec"]["digest"] == before
    sh("ip route del 10.244.3.0/24")
    daemon.until(lambda: held() == good)

    config.swap(network="\n".join(line for line in NETWORK.splitlines() if "n3" not in line))
    daemon.until(lambda: "10.244.3.0/24" not in sh("ip route show proto 94"))
    daemon.until(daemon.ready)
    assert "10.0.3.13" not in held()
    assert daemon.status["spec"]["digest"] != before


def test_a_node_that_is_named_no_more_keeps_its_network(start: Callable[..., Daemon], config: ConfigMap) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    good = held()
    config.swap(network="\n".join(line for line in NETWORK.splitlines() if "n1" not in line))
    daemon.until(lambda: bool(daemon.status["spec"]["problems"]))
    assert "plumbline cleanup" in daemon.status["notReady"]
    assert held() == good


def test_sigterm_is_quick_and_leaves_the_network_and_a_new_start_changes_nothing(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    good = held()
    assert daemon.end() < 1
    assert daemon.process.returncode == 0
    assert held() == good
    for how in (signal.SIGKILL, signal.SIGINT):
        again = start()
        again.until(again.ready)
        assert again.logged("round")[0]["planned"] == 0
        assert held() == good
        again.end(how)


def test_sigterm_in_the_middle_of_a_round_ends_it_after_the_batch_that_runs(start: Callable[..., Daemon], tmp_path: Path) -> None:
    peers = [
        node(f"p{number}", f"10.{1 + number // 250}.7.{number % 250 + 1}", f"10.244.{16 + number // 16}.{number % 16 * 16}/28")
        for number in range(3000)
    ]
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": peers}))
    daemon = start(file)
    daemon.until(lambda: "plumb0" in sh("ip -br link"))
    assert daemon.end() < 3
    assert daemon.process.returncode == 0
    assert daemon.logged("stopped"), "not a crash"
    assert not daemon.logged("round"), "in the middle"
    assert "plumb0" in sh("ip -br link"), "what is there stays"
    again = start(file)
    again.until(again.ready)
    assert len(sh("ip route show proto 94").splitlines()) == 3002


def test_a_second_one_is_refused(start: Callable[..., Daemon]) -> None:
    first = start()
    first.until(first.ready)
    second = start()
    assert second.process.wait(timeout=10) == 1
    [line] = second.logged("cannot start")
    assert f"pid {first.process.pid}" in line["why"]
    assert first.ready()


def test_sighup_reads_everything_again(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.until(lambda: daemon.status["lastRound"]["triggers"] == ["hangup"])


def test_metrics_tell_of_the_repair(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    sh("ip route del 10.244.3.0/24")
    daemon.until(lambda: 'plumbline_drift_repaired_total{kind="route"} 1.0' in daemon.get("/metrics")[1])


def test_facts_are_followed_and_a_node_that_cannot_be_read_is_not_left_out(start: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "nodes.json"

    def give(*nodes: dict[str, Any]) -> None:
        (tmp_path / "new").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": nodes}))
        os.rename(tmp_path / "new", file)

    give(node("n4", "10.0.4.14", "10.244.4.0/24"))
    daemon = start(file)
    daemon.until(daemon.ready)
    assert "10.244.4.0/24" in sh("ip route show proto 94")
    give(node("n4", "10.0.4.14", "10.244.4.0/24"), node("n5", "10.0.5.15", "10.244.5.0/24"))
    daemon.until(lambda: "10.244.5.0/24" in sh("ip route show proto 94"))
    daemon.until(daemon.ready)
    good = held()
    give(node("n4", "10.0.4.14", "10.244.4.0/24"), node("n5", "not an address", "10.244.5.0/24"))
    daemon.until(lambda: bool(daemon.status["spec"]["problems"]))
    assert "n5" in daemon.status["notReady"]
    assert held() == good
