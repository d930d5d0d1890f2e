"""What the facts say of an uplink: what it carries, what was set on it, and who keeps its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.facts.model import Device, Host, Manager
from reconciler.kernel.devices import with_devices
from reconciler.kernel.node import KernelNode
from tests.namespaces import sh

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]
NIC = """
ip link add eth1 address 02:00:00:00:00:11 type veth peer name far && ip link set eth1 up && ip link set far up
ip addr add 10.0.1.11/24 dev eth1 && ip addr add fd00:1::11/64 dev eth1 nodad
ip route add default via 10.0.1.1 proto static && ip route add 10.9.0.0/16 via 10.0.1.1 dev eth1 table 7
ip neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev eth1 nud permanent
"""


def device(root: Path, *named: str) -> Device | None:
    io = KernelNode()
    try:
        return with_devices(Host("", 0, root=str(root)), io, named).devices.get("eth1")
    finally:
        io.close()


def eth1(root: Path) -> Device:
    found = device(root, "eth1", "breth1")
    assert found is not None
    return found


def managers(root: Path) -> tuple[Manager, ...]:
    return eth1(root).managers


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_what_it_carries(tmp_path: Path) -> None:
    sh(f"{NIC}\nsysctl -qw net.ipv4.conf.eth1.rp_filter=2 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.eth1.accept_ra=2")
    found = eth1(tmp_path)
    assert [row.key.prefix for row in found.addresses] == ["10.0.1.11/24", "fd00:1::11/64"]
    assert {(row.key.dst, row.key.table) for row in found.routes} == {("0.0.0.0/0", 254), ("10.9.0.0/16", 7)}
    assert [row.key.address for row in found.neighbours] == ["10.0.1.9"]
    assert found.settings["ipv4.rp_filter"] == "2"
    assert found.accept_ra == "2"
    assert found.managers == ()
    assert device(tmp_path) is None, "nobody asks for it"


def test_a_bridge_that_took_it_over_tells_of_it(tmp_path: Path) -> None:
    sh(f"{NIC}\nip link add breth1 group 94 type bridge; ip link set breth1 alias plumbline:underlay:eth1")
    assert device(tmp_path) is not None
    sh("ip link set breth1 group 0")
    assert device(tmp_path) is None, "without our mark it is a word of somebody else"


def test_a_lease(tmp_path: Path) -> None:
    sh("ip link add eth1 type veth peer name far; ip link set eth1 up; ip addr add 10.0.1.11/24 dev eth1 valid_lft 600 preferred_lft 600")
    sh("ip route add default via 10.0.1.1 dev eth1 proto dhcp src 10.0.1.11 metric 1002")
    write(tmp_path, "proc/812/comm", "dhcpcd\n")
    (one,) = managers(tmp_path)
    assert one.who == "a DHCP client"
    assert one.evidence == "dhcpcd, 10.0.1.11/24 runs out, route 0.0.0.0/0 is proto dhcp"
    assert "auto eth1\\niface eth1 inet static\\n    address 10.0.1.11/24\\n    gateway 10.0.1.1\\n" in one.remedy
    assert "denyinterfaces eth1" in one.remedy


def test_the_remedy_for_a_lease_is_what_ifupdown_reads(tmp_path: Path) -> None:
    """The very text, through a shell's printf: as a person would paste it."""
    sh("ip link add eth1 type veth peer name far; ip link set eth1 up; ip addr add 10.0.1.11/24 dev eth1 valid_lft 600 preferred_lft 600")
    (one,) = managers(tmp_path)
    target = tmp_path / "interfaces"
    sh(one.remedy.split(", take eth1")[0].replace("/etc/network/interfaces.d/plumbline-eth1", str(target)))
    assert target.read_text() == "auto eth1\niface eth1 inet static\n    address 10.0.1.11/24\n"


@pytest.mark.parametrize(
    ("match", "kept"),
    [
        ("Name=eth*", True),
        ("MACAddress=02:00:00:00:00:11", True),
        ("PermanentMACAddress=02:00:00:00:00:12", False),
        ("Name=en*", False),
        ("Kind=bridge", False),
        ("Type=ether", True),
        ("Driver=virtio_net", True),
    ],
)
def test_networkd_by_its_files(match: str, kept: bool, tmp_path: Path) -> None:
    sh(NIC)
    write(tmp_path, "proc/310/comm", "systemd-network\n")
    write(tmp_path, "etc/systemd/network/50-eth.network", f"[Match]\n{match}\n[Network]\nDHCP=no\n")
    assert bool(managers(tmp_path)) is kept
    if kept:
        (one,) = managers(tmp_path)
        assert f"/etc/systemd/network/50-eth.network:2: {match}" in one.evidence
        sh(f"mkdir -p {tmp_path}/etc/systemd/network; " + one.remedy.replace("/etc/", f"{tmp_path}/etc/").partition(" && ")[0])
        assert managers(tmp_path) == (), "the drop-in that it names hands the NIC over"


def test_networkd_s_own_word_counts_before_its_files(tmp_path: Path) -> None:
    sh(NIC)
    index = sh("ip -o link show eth1 | cut -d: -f1").strip()
    write(tmp_path, "proc/310/comm", "systemd-network\n")
    write(tmp_path, "etc/systemd/network/50-eth.network", "[Match]\nName=eth1\n")
    write(tmp_path, f"run/systemd/netif/links/{index}", "# This is private data. Do not parse.\nADMIN_STATE=unmanaged\n")
    assert managers(tmp_path) == ()
    write(tmp_path, f"run/systemd/netif/links/{index}", "ADMIN_STATE=configured\n")
    write(tmp_path, "etc/systemd/network/50-eth.network", "[Match]\nName=eth1\n[Link]\nUnmanaged=yes\n")
    (one,) = managers(tmp_path)
    assert "ADMIN_STATE=configured" in one.evidence, "the drop-in is there, and networkd has not read it yet"


def test_network_manager_and_the_drop_in_that_hands_the_nic_over(tmp_path: Path) -> None:
    sh(NIC)
    write(tmp_path, "proc/411/comm", "NetworkManager\n")
    (one,) = managers(tmp_path)
    assert one.who == "NetworkManager"
    sh(f"mkdir -p {tmp_path}/etc/NetworkManager/conf.d; " + one.remedy.replace("/etc/", f"{tmp_path}/etc/").partition(" && ")[0])
    assert managers(tmp_path) == ()
