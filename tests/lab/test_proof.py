"""The lab's proofs can fail, and what it claims of examples is so in the kernel too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.kernel.tools import run_tool
from reconciler.lab.nodes import start_daemons, status, text_network
from reconciler.lab.probe import probe
from reconciler.lab.state import FOLDER, Lab
from reconciler.lab.topology import LabError
from reconciler.lab.wait import until

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(folder: str) -> Path:
    return EXAMPLES / folder / "network.yaml"


def on(lab: Lab, node: str, command: str) -> str:
    return run_tool(lab.topology.machine(node).netns, command.split()).stdout


def test_a_broken_path_is_seen(name: str) -> None:
    lab = labs.up(example("quickstart"), name).lab
    on(lab, "n1", "ip route del 10.244.3.0/24")
    broken = {str(path) for path in probe(lab.topology, within=0.4).broken}
    assert broken == {"n1-p1 → n3-p1 (IPv4)", "n3-p1 → n1-p1 (IPv4)"}
    on(lab, "n2", "nft delete table inet plumbline")
    broken = {str(path) for path in probe(lab.topology, families=[6], within=0.4).broken}
    assert broken == {"n2-p1 → outside (IPv6)"}


def test_a_packet_that_is_too_large_is_seen(name: str) -> None:
    lab = labs.up(example("ipv4-only"), name).lab
    on(lab, "n1", "ip link set plumb0 mtu 1400")
    assert probe(lab.topology).ok
    assert {path.source for path in probe(lab.topology, full_size=True, within=0.4).broken} >= {"n1-p1"}


def test_the_node_behind_nat_is_reached_by_its_public_address_only(name: str) -> None:
    lab = labs.up(example("pcn-k8s"), name).lab
    assert "dst 198.51.100.13 port 14789" in on(lab, "n1", "bridge fdb show dev plumb0")
    assert labs.verify(name).ok
    assert run_tool(lab.topology.machine("n1").netns, ("ping", "-c1", "-W1", "192.168.7.20")).returncode != 0
    rules = run_tool(lab.topology.router, ("nft", "list", "table", "inet", "lab")).stdout
    used = [line for line in rules.splitlines() if "counter packets" in line and "counter packets 0" not in line]
    assert len(used) == 3, rules  # in by the public address, out with it, and the ping that was dropped


def test_a_smaller_mtu_is_known_to_the_others(name: str) -> None:
    lab = labs.up(example("twelve-nodes"), name).lab
    assert "mtu 1350" in on(lab, "n1", "ip route show 10.244.12.0/24")
    assert "mtu" not in on(lab, "n1", "ip route show 10.244.5.0/24")
    assert "via 10.0.1.12 dev eth0" in on(lab, "n1", "ip route show 10.244.2.0/24")


def test_up_again_replaces_the_lab_and_ends_its_daemons(name: str) -> None:
    lab = labs.up(example("ipv4-only"), name).lab
    start_daemons(lab, example("ipv4-only"), ["n1"])
    until(lambda: bool(status(lab, "n1").get("ready")), 15, lambda: "the daemon is not ready")
    pid = int((lab.node_folder("n1") / "daemon").read_text().split()[0])
    assert labs.up(example("ipv6-only"), name).converged
    assert not Path(f"/proc/{pid}").exists()
    assert labs.verify(name).ok


def test_a_process_that_is_not_the_daemon_is_left_alone(name: str) -> None:
    lab = labs.raise_lab(name, [text_network(example("ipv4-only").read_text()).cluster])
    (lab.node_folder("n1") / "daemon").write_text(f"{os.getpid()} 1")  # a number like a daemon's, of a process that started at another time
    labs.down(name)


def test_down_leaves_nothing_and_says_so(name: str) -> None:
    labs.up(example("quickstart"), name)
    assert labs.down(name)
    assert [one for one in os.listdir("/run/netns") if one.startswith(f"{name}-")] == []
    assert not (FOLDER / name).exists()
    assert not labs.down(name)


def test_what_is_not_there_is_named(name: str) -> None:
    with pytest.raises(LabError, match="there is no lab"):
        labs.verify(name)
    labs.up(example("ipv4-only"), name)
    assert name in labs.names()
    with pytest.raises(LabError, match="has no node n9; it has n1, n2, n3"):
        labs.shell(name, "n9")
    assert labs.shell(name, "n1-p1", ["true"]) == 0
    assert labs.shell(name, "n1", ["ip", "link", "show", "dev", "nothing"]) != 0
