"""Who would undo what plumbline does, as files and processes show it: every source, every order, every way to say no."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.node import KernelNode
from reconciler.kernel.opponents import Opponent
from reconciler.kernel.opponents.cni import cni_files
from reconciler.kernel.opponents.network_manager import network_manager
from reconciler.kernel.opponents.networkd import networkd
from reconciler.kernel.opponents.ports import udp_port
from reconciler.spec.model import Cni

OURS = [("plumb0", "vxlan"), ("cni0", "bridge")]


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def process(root: Path, pid: int, comm: str) -> None:
    write(root, f"proc/{pid}/comm", f"{comm}\n")


# -- systemd-networkd ------------------------------------------------------------------------


@pytest.fixture
def networkd_runs(tmp_path: Path) -> Path:
    process(tmp_path, 2, "kthreadd")
    process(tmp_path, 310, "systemd-network")
    return tmp_path


def told(root: Path) -> list[Opponent]:
    return list(networkd(str(root), OURS))


def test_a_host_without_it(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/networkd.conf", "[Network]\nManageForeignRoutes=yes\n")
    assert told(tmp_path) == []


def test_by_default_it_removes_all_three(networkd_runs: Path) -> None:
    (one,) = told(networkd_runs)
    assert one.effect == "removes foreign routes, rules and nexthops whenever it starts or reloads"
    assert "process 310" in one.evidence
    assert "no file says ManageForeignRoutes=no" in one.evidence
    assert "printf '[Network]\\nManageForeignRoutes=no\\nManageForeignRoutingPolicyRules=no\\n" in one.remedy
    assert "/etc/systemd/networkd.conf.d/plumbline.conf && systemctl restart systemd-networkd" in one.remedy


def test_its_remedy_is_a_remedy(networkd_runs: Path) -> None:
    (one,) = told(networkd_runs)
    text = one.remedy.split("printf '")[1].split("'")[0].replace("\\n", "\n")
    write(networkd_runs, "etc/systemd/networkd.conf.d/plumbline.conf", text)
    assert told(networkd_runs) == []


def test_one_that_is_too_old_for_nexthops(networkd_runs: Path) -> None:
    write(networkd_runs, "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so")
    (one,) = told(networkd_runs)
    assert "routes and rules" in one.effect
    assert "NextHops" not in one.remedy + one.evidence


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n"}, "rules"),
        ({"usr/lib/systemd/networkd.conf": "[Network]\nManageForeignRoutes=off\n"}, "rules"),
        ({"run/systemd/networkd.conf.d/a.conf": "# why\n[Network]\nManageForeignRoutes = False\n"}, "rules"),
        ({"usr/local/lib/systemd/networkd.conf.d/a.conf": "[Network]\nManageForeignRoutes=0\n"}, "rules"),
        # the first main file alone counts
        ({"etc/systemd/networkd.conf": "[Network]\n", "usr/lib/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n"}, "routes"),
        # a drop-in comes after the main file, and a later name after an earlier one
        ({"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n", "usr/lib/systemd/networkd.conf.d/a.conf": "[Network]\nManageForeignRoutes=yes\n"}, "routes"),
        ({"etc/systemd/networkd.conf.d/a.conf": "[Network]\nManageForeignRoutes=no\n", "usr/lib/systemd/networkd.conf.d/b.conf": "[Network]\nManageForeignRoutes=1\n"}, "routes"),
        # one name in two folders: /etc hides the other
        ({"etc/systemd/networkd.conf.d/a.conf": "", "usr/lib/systemd/networkd.conf.d/a.conf": "[Network]\nManageForeignRoutes=no\n"}, "routes"),
        # what systemd ignores: another section, a comment, no truth value, another suffix
        ({"etc/systemd/networkd.conf": "[DHCPv4]\nManageForeignRoutes=no\n"}, "routes"),
        ({"etc/systemd/networkd.conf": "[Network]\n;ManageForeignRoutes=no\n"}, "routes"),
        ({"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=never\n"}, "routes"),
        ({"etc/systemd/networkd.conf.d/a.conf.bak": "[Network]\nManageForeignRoutes=no\n"}, "routes"),
    ],
)  # fmt: skip
def test_where_a_setting_counts(networkd_runs: Path, files: dict[str, str], left: str) -> None:
    for path, text in files.items():
        write(networkd_runs, path, text)
    (one,) = told(networkd_runs)
    assert one.effect.startswith(f"removes foreign {left}")


def test_the_line_that_says_yes_is_the_evidence(networkd_runs: Path) -> None:
    write(networkd_runs, "etc/systemd/networkd.conf.d/90-x.conf", "[Network]\n\nManageForeignRoutes=true\n")
    assert "/etc/systemd/networkd.conf.d/90-x.conf:3: ManageForeignRoutes=true" in told(networkd_runs)[0].evidence


def test_in_a_container_its_file_in_run_speaks_and_on_the_host_its_process(tmp_path: Path) -> None:
    write(tmp_path, "run/systemd/netif/state")
    process(tmp_path, 2, "plumbline")
    assert "/run/systemd/netif/state" in told(tmp_path)[0].evidence
    process(tmp_path, 2, "kthreadd")
    assert told(tmp_path) == [], "it ran once, and does not now"


NO = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\nManageForeignNextHops=no\n"


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        ({"50-all.network": "[Match]\nName=*\n[Network]\nDHCP=yes\n"}, {"plumb0", "cni0"}),
        ({"50-some.network": "[Match]\nName=eth* plumb?\n"}, {"plumb0"}),
        ({"50-not.network": "[Match]\nName=!eth* cni*\n"}, {"plumb0"}),
        ({"50-kind.network": "[Match]\nKind=bridge\n"}, {"cni0"}),
        ({"50-eth.network": "[Match]\nName=eth0\n"}, set()),
        ({"50-ether.network": "[Match]\nType=ether\nDriver=e1000\n"}, set()),
        ({"10-leave.network": "[Match]\nName=plumb0\n[Link]\nUnmanaged=yes\n", "50-all.network": "[Match]\nName=*\n"}, {"cni0"}),
        ({"50-empty.network": "[Match]\n[Network]\nDHCP=yes\n"}, set()),
    ],
)  # fmt: skip
def test_network_files_that_match_our_links(networkd_runs: Path, files: dict[str, str], taken: set[str]) -> None:
    write(networkd_runs, "etc/systemd/networkd.conf", NO)
    for name, text in files.items():
        write(networkd_runs, f"etc/systemd/network/{name}", text)
    found = told(networkd_runs)
    assert {one.effect.split()[1] for one in found} == taken
    assert all(one.evidence.startswith("/etc/systemd/network/50-") for one in found)


# -- NetworkManager --------------------------------------------------------------------------


@pytest.fixture
def manager_runs(tmp_path: Path) -> Path:
    process(tmp_path, 2, "kthreadd")
    process(tmp_path, 420, "NetworkManager")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        ({}, "plumb0, cni0"),
        ({"etc/NetworkManager/conf.d/p.conf": "[keyfile]\nunmanaged-devices=interface-name:plumb0;interface-name:cni*\n"}, ""),
        ({"etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=plumb0,interface-name:=cni0\n"}, ""),
        ({"usr/lib/NetworkManager/conf.d/p.conf": "[keyfile]\nunmanaged-devices=type:vxlan\n"}, "cni0"),
        ({"etc/NetworkManager/conf.d/p.conf": "[keyfile]\nunmanaged-devices=*\n"}, ""),
        ({"etc/NetworkManager/conf.d/p.conf": "[keyfile]\nunmanaged-devices=*;except:interface-name:plumb0\n"}, "plumb0"),
        ({"etc/NetworkManager/conf.d/p.conf": "[keyfile]\nunmanaged-devices=except:type:ethernet\n"}, ""),
        # += adds, = begins anew, -= takes away; /usr/lib before /run before the main file before /etc's drop-ins
        ({"usr/lib/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=plumb0\n", "etc/NetworkManager/conf.d/z.conf": "[keyfile]\nunmanaged-devices+=cni0\n"}, ""),
        ({"usr/lib/NetworkManager/conf.d/z.conf": "[keyfile]\nunmanaged-devices=plumb0\n", "etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=cni0\n"}, "plumb0"),
        ({"etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=plumb0;cni0\n", "etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices-=cni0\n"}, "cni0"),
        # a file of the same name in /etc hides that of the package
        ({"usr/lib/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=*\n", "etc/NetworkManager/conf.d/a.conf": ""}, "plumb0, cni0"),
        ({"etc/NetworkManager/conf.d/a.conf": "[device-ours]\nmatch-device=interface-name:plumb0\nmanaged=0\n"}, "cni0"),
        ({"etc/NetworkManager/conf.d/a.conf": "[main]\nunmanaged-devices=plumb0\n"}, "plumb0, cni0"),
    ],
)  # fmt: skip
def test_what_network_manager_leaves_alone(manager_runs: Path, files: dict[str, str], taken: str) -> None:
    for path, text in files.items():
        write(manager_runs, path, text)
    found = list(network_manager(str(manager_runs), OURS))
    assert [one.effect.partition(":")[0] for one in found] == ([f"may take {taken}"] if taken else [])
    for one in found:
        assert "printf '[keyfile]\\nunmanaged-devices+=" in one.remedy


def test_network_manager_s_remedy_is_a_remedy(manager_runs: Path) -> None:
    write(manager_runs, "etc/NetworkManager/NetworkManager.conf", "[keyfile]\nunmanaged-devices=interface-name:docker0\n")
    (one,) = network_manager(str(manager_runs), OURS)
    assert "/etc/NetworkManager/NetworkManager.conf:2: unmanaged-devices=interface-name:docker0" in one.evidence
    text = one.remedy.split("printf '")[1].split("'")[0].replace("\\n", "\n")
    write(manager_runs, "etc/NetworkManager/conf.d/plumbline.conf", text)
    assert list(network_manager(str(manager_runs), OURS)) == []


# -- CNI files -------------------------------------------------------------------------------


def test_only_what_a_runtime_reads_and_reads_first(tmp_path: Path) -> None:
    folder = tmp_path / "etc/cni/net.d"
    write(tmp_path, "etc/cni/net.d/10-plumbline.conflist", "{}")
    for name in ("05-old.conflist.bak", "00-readme.txt", ".kube", "20-later.conf", "10-plumbline2.conflist"):
        (folder / name).write_text("{}")
    (folder / "01-folder.conf").mkdir()
    assert list(cni_files(str(tmp_path), Cni())) == []
    (folder / "05-flannel.conflist").write_text('{"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}')
    (folder / "06-broken.json").write_text("{")
    first, second = cni_files(str(tmp_path), Cni())
    assert first.who == "CNI file 05-flannel.conflist"
    assert first.effect == "is read before ours: new pods get its network"
    assert first.evidence == "/etc/cni/net.d/05-flannel.conflist: network cbr0, flannel then portmap"
    assert "rm /etc/cni/net.d/05-flannel.conflist" in first.remedy
    assert "no valid CNI configuration" in second.evidence


def test_names_are_sorted_by_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, "etc/cni/net.d/10-Plumb.conf", '{"name": "z", "type": "bridge"}')
    assert [one.who for one in cni_files(str(tmp_path), Cni())] == ["CNI file 10-Plumb.conf"]


def test_a_folder_that_is_not_there_has_nothing_before_ours(tmp_path: Path) -> None:
    assert list(cni_files(str(tmp_path), Cni())) == []


# -- the UDP port ----------------------------------------------------------------------------


@pytest.fixture
def node(netns: str) -> Iterator[KernelNode]:
    io = KernelNode()
    yield io
    io.close()


@pytest.mark.kernel
def test_a_process_on_the_port_is_named(node: KernelNode) -> None:
    assert list(udp_port(node, "", 4789, [])) == []
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::1", 4789))
        (one,) = udp_port(node, "", 4789, [])
        assert one.who.endswith(")")
        assert "(process " in one.who
        assert one.level == "problem"
        (hidden,) = udp_port(node, "/nowhere", 4789, [])
        assert hidden.who.startswith("somebody who cannot be seen from here (socket ")
        assert list(udp_port(node, "", 4790, [])) == []


class _Silent(KernelNode):
    def read(self, netns: str, path: str) -> bytes | None:
        return None


def test_no_list_of_sockets_is_no_answer() -> None:
    with pytest.raises(ObservationFailed):
        list(udp_port(_Silent(), "", 4789, []))
