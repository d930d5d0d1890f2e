"""Who would undo or block what plumbline does is named, with what to write where."""

from __future__ import annotations

from pathlib import Path

from reconciler.kernel.opponents import opponents

UDP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
LINE = "  10: 00000000:{port:04X} 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 {inode} 2 0 0\n"


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_nobody(tmp_path: Path) -> None:
    assert list(opponents("plumb0", 4789, tmp_path)) == []


def test_networkd_is_named_until_it_is_told(tmp_path: Path) -> None:
    write(tmp_path, "run/systemd/netif/state")
    assert [one.remedy.split("=")[0] for one in opponents("plumb0", 4789, tmp_path)] == [
        "write [Network] ManageForeignRoutes",
        "write [Network] ManageForeignRoutingPolicyRules",
    ]
    write(tmp_path, "etc/systemd/networkd.conf.d/x.conf", "[Network]\nManageForeignRoutes = no\nManageForeignRoutingPolicyRules=no\n")
    assert list(opponents("plumb0", 4789, tmp_path)) == []


def test_network_manager_is_named_until_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "run/NetworkManager").mkdir(parents=True)
    assert "may take plumb0" in next(iter(opponents("plumb0", 4789, tmp_path))).what
    write(tmp_path, "etc/NetworkManager/conf.d/p.conf", "[keyfile]\nunmanaged-devices=interface-name:plumb0\n")
    assert list(opponents("plumb0", 4789, tmp_path)) == []


def test_a_process_on_the_port_is_named_and_the_kernel_s_own_socket_is_not(tmp_path: Path) -> None:
    write(tmp_path, "proc/net/udp", UDP + LINE.format(port=4789, inode=0))
    assert list(opponents("plumb0", 4789, tmp_path)) == []
    write(tmp_path, "proc/net/udp", UDP + LINE.format(port=4789, inode=12345))
    assert "a process listens on UDP port 4789" in next(iter(opponents("plumb0", 4789, tmp_path))).what
