"""VXLAN devices of other agents that have our VNI or our UDP port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.kernel.opponents.model import Opponent
from reconciler.kinds.link import Link, Vxlan
from reconciler.kinds.marks import GROUP

AGENTS = (  # a device's name begins so
    ("flannel", "flannel"), ("vxlan.calico", "Calico"), ("vxlan-v6.calico", "Calico"), ("cilium_vxlan", "Cilium"),
    ("antrea", "Antrea"), ("weave", "Weave Net"), ("vxlan_sys_", "Open vSwitch"), ("genev_sys_", "Open vSwitch"), ("ovn", "OVN"),
    ("kube-bridge", "kube-router"), ("tunl", "Calico or kube-router"), ("docker", "Docker"), ("cali", "Calico"), ("lxc", "Cilium"),
)  # fmt: skip


def agent_of(device: str) -> str:
    """Whose device this is, by the name that the agent is known to give it; empty: unknown."""
    return next((agent for prefix, agent in AGENTS if device.startswith(prefix)), "")


def vxlan_devices(ours: Iterable[Link], seen: Iterable[Link]) -> Iterator[Opponent]:
    """Devices that share something with one of ours; `seen` are all links of the node's own namespace."""
    wanted = [(link.key, link.info) for link in ours if isinstance(link.info, Vxlan)]
    for link in seen:
        if not isinstance(link.info, Vxlan) or link.group == GROUP or any(link.key == key for key, _ in wanted):
            continue
        for key, info in wanted:
            if link.key.netns == key.netns:
                yield from _between(link, link.info, key.name, info)


def _between(link: Link, theirs: Vxlan, name: str, ours: Vxlan) -> Iterator[Opponent]:
    """What the kernel makes of the two (drivers/net/vxlan: vxlan_config_validate, vxlan_find_sock)."""
    agent = agent_of(link.key.name)
    who = f"VXLAN device {link.key.name}" + (f" ({agent})" if agent else "")
    vni = "any VNI" if theirs.external else f"VNI {theirs.id}"
    evidence = f"ip -d link show {link.key.name}: {vni}, UDP port {theirs.dstport}" + (f", local {theirs.local}" if theirs.local else "")
    leave = f"uninstall {agent or 'who made it'} and ip link del {link.key.name}"
    if theirs.dstport == ours.dstport and theirs.external:
        yield Opponent(
            who, f"takes every VXLAN packet to UDP port {ours.dstport}: {name} cannot be brought up beside it", evidence,
            f"{leave}; or say another port on all nodes, fabric.overlay.port",
        )  # fmt: skip
    elif theirs.dstport == ours.dstport and theirs.id == ours.id and _family(theirs) == _family(ours):
        yield Opponent(
            who, f"has the VNI, port and family of {name}: the kernel refuses the second one", evidence,
            f"{leave}; or say another VNI on all nodes, fabric.overlay.vni",
        )  # fmt: skip
    elif theirs.dstport == ours.dstport:
        yield Opponent(
            who, f"shares UDP port {ours.dstport} with {name}: both work, told apart by VNI, but rules about the port hit both", evidence,
            f"nothing while both are meant to be; else {leave}", "note",
        )  # fmt: skip
    elif theirs.id == ours.id:
        yield Opponent(
            who, f"has the VNI of {name} on another port: both work; the next one to change a port meets the other", evidence,
            f"nothing while both are meant to be; else {leave}", "note",
        )  # fmt: skip


def _family(info: Vxlan) -> int:
    return 6 if ":" in (info.local or info.group) else 4
