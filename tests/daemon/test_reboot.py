"""A node that comes up without its content: the last good one, kept on disk, builds the network and deletes nothing."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.configmap import ConfigMap
from tests.daemon.process import NETWORK, Daemon, held, node, plumbline
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

LEFTOVER = "10.97.0.0/16"  # marked as ours, and wanted by nothing


def power_cut(daemon: Daemon) -> None:
    """The daemon dies and so does all that it made; something that it would delete is there when it comes back."""
    daemon.end(signal.SIGKILL)
    sh(f"ip link del plumb0; ip route flush proto 94; ip nexthop flush; ip route add blackhole {LEFTOVER} proto 94")


def comes_back(daemon: Daemon, good: str) -> None:
    """All that was there is there again, and nothing was deleted."""
    daemon.until(lambda: f"blackhole {LEFTOVER}" in held() and without(held()) == good)
    daemon.until(lambda: daemon.status["spec"]["source"] == "disk")
    code, why = daemon.get("/readyz")
    assert code == 503
    assert "as it was kept on disk" in why
    assert daemon.get("/healthz")[0] == 200


def without(lines: str) -> str:
    return "\n".join(line for line in lines.splitlines() if LEFTOVER not in line)


def test_without_any_content_the_kept_one_builds_and_deletes_nothing(
    start: Callable[..., Daemon], config: ConfigMap, tmp_path: Path
) -> None:
    first = start()
    first.until(first.ready)
    good = held()
    power_cut(first)
    shutil.rmtree(config.folder)
    again = start()
    comes_back(again, good)
    assert "No such file" in again.status["notReady"]
    sh("ip route del 10.244.3.0/24")
    again.until(lambda: without(held()) == good)
    assert any(LEFTOVER in line and "kept on disk" in line for line in again.status["held"])

    ConfigMap(config.folder).swap(network=NETWORK)
    again.until(again.ready)
    assert again.status["spec"]["source"] == "live"
    assert held() == good, "the same content read live deletes what nothing wants"


def test_invalid_content_at_the_start_is_named_with_its_line(start: Callable[..., Daemon], config: ConfigMap) -> None:
    first = start()
    first.until(first.ready)
    good = held()
    power_cut(first)
    config.swap(network=NETWORK.replace("fabric:", "fabrik:"))
    again = start()
    comes_back(again, good)
    place = f"network.yaml:{NETWORK.splitlines().index('fabric: {podNetwork: [10.244.0.0/16]}') + 1}:1"
    assert again.status["spec"]["problems"][0].startswith(place)
    assert again.logged("content rejected")[0]["problem"].startswith(place)
    metrics = again.get("/metrics")[1]
    assert f'plumbline_spec_invalid{{place="{place}"}} 1.0' in metrics
    assert "plumbline_spec_valid 0.0" in metrics
    assert "plumbline_spec_stale 1.0" in metrics
    [stamp] = [line.split()[1] for line in metrics.splitlines() if line.startswith("plumbline_spec_last_good_timestamp_seconds ")]
    assert float(stamp) > 1e9


def test_facts_that_are_gone_are_not_a_cluster_without_nodes(start: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [node("n4", "10.0.4.14", "10.244.4.0/24")]}))
    first = start(file)
    first.until(first.ready)
    good = held()
    assert "10.244.4.0/24" in good
    power_cut(first)
    file.unlink()
    again = start(file)
    comes_back(again, good)
    assert "nodes.json" in again.status["notReady"]
    file.write_text('{"kind": "List", "apiVersion": "v1", "items": [')
    again.until(lambda: "not valid JSON" in again.status["notReady"])
    assert without(held()) == good


@pytest.mark.parametrize("harm", [lambda raw: raw[:-20], lambda raw: b"rubbish"], ids=["cut", "rubbish"])
def test_what_was_kept_and_is_damaged_is_named_and_not_used(
    start: Callable[..., Daemon], config: ConfigMap, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    first = start()
    first.until(first.ready)
    good = held()
    power_cut(first)
    kept = tmp_path / "state/last-good"
    kept.write_bytes(harm(kept.read_bytes()))
    config.swap(network="")
    again = start()
    again.until(lambda: again.get("/readyz")[0] == 503 and again.status["rounds"] > 0)
    assert "no content is in force" in again.status["notReady"]
    [problem] = again.status["state"]["problems"]
    assert "last-good: is damaged" in problem
    assert again.logged("state")[0]["problem"] == problem
    assert "plumbline_state_problems 1.0" in again.get("/metrics")[1]
    config.swap(network=NETWORK)
    again.until(again.ready)
    again.until(lambda: not again.status["state"]["problems"])
    assert held() == good


def test_a_full_disk_is_named_and_stops_nothing(start: Callable[..., Daemon], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mounts = (
        "unshare",
        "-m",
        "sh",
        "-euc",
        f'mount -t tmpfs -o size=4k,nr_inodes=20 none {state}; head -c 4096 /dev/zero > {state}/full; exec "$@"',
        "sh",
    )
    daemon = start(before=mounts)
    daemon.until(daemon.ready)
    assert any("No space left on device" in line for line in daemon.status["state"]["problems"])
    sh("ip route del 10.244.3.0/24")
    daemon.until(lambda: "10.244.3.0/24" in held())


def test_without_content_and_without_anything_kept_it_says_so(netns: str, tmp_path: Path) -> None:
    done = plumbline("run", "--config", str(tmp_path / "missing"), "--node", "n1", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert f"{tmp_path}/missing: no such file or folder" in done.stderr
