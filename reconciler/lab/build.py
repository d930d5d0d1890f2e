"""Makes a topology real and takes it away: `ip -batch` and `nft` in few processes, nothing outside of its namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface
from pathlib import Path

from reconciler.kernel.netns import RUN, entered
from reconciler.kernel.processes import ToolFailed
from reconciler.kernel.tools import run_tool
from reconciler.lab.topology import OUTSIDE, LabError, Machine, Nat, Pod, Topology

QUIET = {"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/accept_ra": "0"}
FORWARDS_IPV4 = {"net/ipv4/ip_forward": "1"}  # a new namespace has IPv4 forwarding as its host, which a Kubernetes node has on
FORWARDS = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


def build(lab: Topology) -> None:
    """Make every namespace and wire them. Raises LabError; what was made until then stays, for `tear_down`."""
    batch("", (f"netns add {name}" for name in lab.namespaces))
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="lab") as pool:
        values = {lab.router: QUIET | FORWARDS, **{pod.netns: QUIET | FORWARDS_IPV4 for pod in lab.pods}}
        list(pool.map(lambda name: _sysctls(name, values.get(name, QUIET)), lab.namespaces))
        batch(lab.router, _wires(lab))
        scripts = [(lab.router, _router(lab)), (lab.outside, _outside(lab))]
        scripts += [(machine.netns, _machine(machine)) for machine in lab.machines]
        scripts += [(pod.netns, _pod(pod)) for pod in lab.pods]
        list(pool.map(lambda script: batch(*script), scripts))
    if lab.nats:
        _tool(lab.router, ("nft", "-f", "-"), nat_rules(lab.nats))


def tear_down(namespaces: Iterable[str]) -> None:
    """Delete those of the namespaces that exist; with them goes everything inside. Raises LabError."""
    there = set(os.listdir(RUN)) if Path(RUN).is_dir() else set()
    batch("", (f"netns del {name}" for name in namespaces if name in there))


def batch(netns: str, lines: Iterable[str]) -> None:
    """Lines of `ip` in one process; the first one that fails ends it. Raises LabError."""
    text = "".join(f"{line}\n" for line in lines)
    if text:
        _tool(netns, ("ip", "-batch", "-"), text)


def _tool(netns: str, words: Sequence[str], text: str) -> None:
    try:
        done = run_tool(netns, words, stdin=text)
    except ToolFailed as failure:
        raise LabError(str(failure)) from failure
    if done.returncode != 0:
        raise LabError(f"{' '.join(words)} in {netns or 'the machine'}: {' '.join(done.stderr.split())}")


def _sysctls(netns: str, values: dict[str, str]) -> None:
    try:
        with entered(netns):
            for name, value in values.items():
                Path("/proc/sys", name).write_text(value)
    except OSError as error:
        if "ipv6" not in str(error.filename):  # a machine without IPv6 still makes IPv4 labs
            raise LabError(f"{error.filename} in {netns}: {error.strerror}") from error


def _wires(lab: Topology) -> Iterator[str]:
    """Every veth, its ends made where they belong; run in the router's namespace."""
    for segment in lab.segments:
        yield f"link add {segment.bridge} type bridge mcast_snooping 0"
    for number, machine in enumerate(lab.machines):
        yield f"link add port{number} mtu {machine.mtu} type veth peer name {machine.uplink} netns {machine.netns} mtu {machine.mtu}"
        yield f"link set port{number} master {machine.bridge} up"
        for count, pod in enumerate(machine.pods, 1):
            yield f"link add veth-p{count} netns {machine.netns} mtu {pod.mtu} type veth peer name eth0 netns {pod.netns} mtu {pod.mtu}"
    yield f"link add world type veth peer name eth0 netns {lab.outside}"


def _router(lab: Topology) -> Iterator[str]:
    yield "link set lo up"
    yield "link set world up"
    yield from (f"addr add {_beside(address)} dev world{_nodad(address)}" for address in OUTSIDE.values())
    for segment in lab.segments:
        yield f"link set {segment.bridge} up"
        yield from (f"addr add {gateway} dev {segment.bridge}{_nodad(gateway)}" for gateway in segment.gateways)


def _outside(lab: Topology) -> Iterator[str]:
    """It knows the nodes and no pod: an answer to a pod proves that its node masqueraded."""
    yield "link set lo up"
    yield "link set eth0 up"
    yield from (f"addr add {address} dev eth0{_nodad(address)}" for address in OUTSIDE.values())
    known = [str(ip_interface(gateway).network) for segment in lab.segments for gateway in segment.gateways]
    for destination in dict.fromkeys([*known, *(nat.public for nat in lab.nats)]):
        way = _beside(OUTSIDE[6 if ":" in destination else 4]).partition("/")[0]
        yield f"route add {destination} via {way} dev eth0"


def _machine(machine: Machine) -> Iterator[str]:
    yield "link set lo up"
    yield f"link set {machine.uplink} up"
    yield from (f"addr add {address} dev {machine.uplink}{_nodad(address)}" for address in machine.addresses)
    yield from (f"route add default via {gateway} dev {machine.uplink} proto static" for gateway in machine.gateways)
    for pod in machine.pods[:1]:  # one bridge for all of them
        yield f"link add {pod.bridge} mtu {pod.mtu} type bridge mcast_snooping 0"
        yield from (f"link set veth-p{count} master {pod.bridge} up" for count in range(1, len(machine.pods) + 1))
        yield f"link set {pod.bridge} up"
        yield from (f"addr add {gateway} dev {pod.bridge}{_nodad(gateway)}" for gateway in pod.gateways)


def _pod(pod: Pod) -> Iterator[str]:
    yield "link set lo up"
    yield "link set eth0 up"
    yield from (f"addr add {address} dev eth0{_nodad(address)}" for address in pod.addresses)
    yield from (f"route add default via {gateway.partition('/')[0]} dev eth0" for gateway in pod.gateways)


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


def _beside(address: str) -> str:
    """The router's address on the wire to the outside world."""
    interface = ip_interface(address)
    return f"{interface.ip + 1}/{interface.network.prefixlen}"


def nat_rules(nats: Iterable[Nat]) -> str:
    """The router's table: the public address leads to the node, the node leaves with it, nobody else reaches the private one."""
    into, out, kept = [], [], []
    for nat in nats:
        word, to = ("ip6", f"[{nat.address}]") if ":" in nat.address else ("ip", nat.address)
        near = "{ " + ", ".join(nat.site) + " }"
        into.append(f"{word} daddr {nat.public} udp dport {nat.public_port} counter dnat {word} to {to}:{nat.port}")
        out.append(f"{word} saddr {nat.address} {word} daddr != {near} counter snat {word} to {nat.public}")
        kept.append(f"{word} daddr {nat.address} {word} saddr != {near} ct state new ct status & dnat == 0 counter drop")
    chains = (
        ("into", "type nat hook prerouting priority dstnat", into),
        ("out", "type nat hook postrouting priority srcnat", out),
        ("kept", "type filter hook forward priority filter", kept),
    )
    body = "\n".join(f" chain {name} {{\n  {hook};\n  " + "\n  ".join(rules) + "\n }" for name, hook, rules in chains)
    return f"table inet lab {{\n{body}\n}}\n"
