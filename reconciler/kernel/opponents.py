"""Others on this host who would undo or block what plumbline does. They are named, not fought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Opponent(NamedTuple):
    """Who it is and what it does, and what a person can do about it."""

    what: str
    remedy: str


def opponents(device: str, port: int, root: Path = Path("/")) -> Iterator[Opponent]:
    """Those that can be seen in files; `device` and `port` are the overlay's."""
    yield from _networkd(root)
    yield from _network_manager(root, device)
    yield from _port(root, port)


def _networkd(root: Path) -> Iterator[Opponent]:
    """systemd-networkd removes foreign routes and rules when it restarts (networkd.conf(5))."""
    if not (root / "run/systemd/netif/state").exists():
        return
    files = [root / "etc/systemd/networkd.conf", *sorted((root / "etc/systemd/networkd.conf.d").glob("*.conf"))]
    said = "\n".join(file.read_text(errors="replace") for file in files if file.is_file())
    for setting in ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules"):
        if not any(line.replace(" ", "").lower() == f"{setting.lower()}=no" for line in said.splitlines()):
            yield Opponent(
                f"systemd-networkd runs and removes foreign {'routes' if setting.endswith('Routes') else 'rules'} at its restart",
                f"write [Network] {setting}=no to /etc/systemd/networkd.conf.d/plumbline.conf",
            )


def _network_manager(root: Path, device: str) -> Iterator[Opponent]:
    """NetworkManager takes new links unless told not to (NetworkManager.conf(5), unmanaged-devices)."""
    if not (root / "run/NetworkManager").is_dir():
        return
    files = sorted((root / "etc/NetworkManager/conf.d").glob("*.conf"))
    if not any("unmanaged-devices" in (said := file.read_text(errors="replace")) and device in said for file in files):
        yield Opponent(
            f"NetworkManager runs and may take {device}",
            f"write [keyfile] unmanaged-devices=interface-name:{device} to /etc/NetworkManager/conf.d/plumbline.conf",
        )


def _port(root: Path, port: int) -> Iterator[Opponent]:
    """A process on the overlay's UDP port; the kernel's own sockets have no inode (proc(5), /proc/net/udp)."""
    for name in ("udp", "udp6"):
        table = root / "proc/net" / name
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port and words[9] != "0":
                yield Opponent(
                    f"a process listens on UDP port {port}",
                    f"stop it (ss -ulpn sport = :{port} names it), or say another fabric.overlay.port",
                )
                return
