"""Whether the nodes can reach each other as the fabric asks: families, subnets, MTU, tables. No I/O; linear in nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from reconciler.facts.model import Facts, Node
from reconciler.facts.problem import named, problem_at
from reconciler.spec.load import Loaded
from reconciler.spec.model import Fabric
from reconciler.spec.problems import Path, Problem
from reconciler.wire.ip import packed

ARP_TABLE = 1024  # net.ipv4.neigh.default.gc_thresh3, the kernel's default
IPV6_LEAST = 1280  # bytes (RFC 8200)
OVERHEAD = {4: 50, 6: 70}  # bytes: outer IP, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348)
TOLD = 10  # pairs without a path; after them one knows

Subnet = tuple[str, int, int]  # site, prefix length, network as a number


def reach(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """Errors and warnings of the fabric as a whole."""
    fabric = loaded.spec.fabric
    if fabric is None or fabric.mode == "none":
        return
    if fabric.mode == "direct":
        yield from _no_path(loaded, facts)
    else:
        yield from _underlay(loaded, facts, fabric.overlay.underlay)
    yield from _pod_families(loaded, facts)
    yield from _mtu(loaded, facts, fabric)
    yield from _tables(loaded, facts)


def subnet(node: Node, family: int) -> Subnet | None:
    """What a node's address says of its subnet; None where it has no address, or the prefix length is unknown."""
    one = node.address(family)
    if one is None or one.prefix is None:
        return None
    raw = packed(one.address)
    return node.site, one.prefix, int.from_bytes(raw, "big") >> (len(raw) * 8 - one.prefix)


def _families(node: Node) -> set[int]:
    return {6 if ":" in cidr else 4 for cidr in node.pod_cidrs}


def _no_path(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """Direct routing everywhere: who shares no subnet with the first node has no path to it."""
    nodes = [node for node in facts.nodes.values() if node.pod_cidrs]
    lost: list[tuple[Node, int]] = []
    for node in nodes[1:]:
        for family in sorted(_families(nodes[0]) | _families(node)):
            # IPv4 pods may go by an IPv6 gateway (RFC 8950), not the other way round.
            ways = ((subnet(nodes[0], way), subnet(node, way)) for way in ((4, 6) if family == 4 else (6,)))
            if not any(mine is not None and mine == theirs for mine, theirs in ways):
                lost.append((node, family))
                break
    for node, family in lost[:TOLD]:
        more = f" (nor do {len(lost) - TOLD} more nodes)" if len(lost) > TOLD and node is lost[TOLD - 1][0] else ""
        yield problem_at(
            loaded, ("nodes", node.name, "address"),
            f"fabric.mode is direct, but {node.name} and {nodes[0].name} share no subnet for IPv{family} pods{more}",
            "write both addresses with their prefix length if they do, else say fabric.mode: auto", node=node,
        )  # fmt: skip


def _underlay(loaded: Loaded, facts: Facts, said: str) -> Iterator[Problem]:
    """One VXLAN device carries one family of outer packets."""
    addressed = [node for node in facts.nodes.values() if node.addresses]
    if said == "auto":
        without = {family: [node for node in addressed if node.address(family) is None] for family in (4, 6)}
        if without[4] and without[6]:
            yield problem_at(
                loaded, ("fabric", "overlay", "underlay"),
                f"no family that every node has: {named(without[4])} without IPv4, {named(without[6])} without IPv6 address",
                "one VXLAN device carries one family: give every node an address of the same one",
            )  # fmt: skip
        return
    family = 4 if said == "ipv4" else 6
    lacking = [node for node in addressed if node.address(family) is None]
    if lacking:
        yield problem_at(
            loaded, ("fabric", "overlay", "underlay"), f"is {said}, but without such an address: {named(lacking)}",
            f"give it one, nodes.{lacking[0].name}.address",
        )  # fmt: skip


def _pod_families(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    nodes = [node for node in facts.nodes.values() if node.pod_cidrs]
    for family in sorted({family for node in nodes for family in _families(node)}):
        lacking = [node for node in nodes if family not in _families(node)]
        if lacking:
            yield problem_at(
                loaded, ("nodes", lacking[0].name, "podCIDRs"), f"no IPv{family} pods at {named(lacking)}, while other nodes have them",
                f"pods there reach nobody by IPv{family}; add a pod CIDR of that family, or leave it out everywhere",
                warning=True, node=lacking[0],
            )  # fmt: skip


def _mtu(loaded: Loaded, facts: Facts, fabric: Fabric) -> Iterator[Problem]:
    """IPv6 ends below 1280 bytes; and nothing inside VXLAN says that a packet was too big."""
    overlay = fabric.overlay
    tunnels = fabric.mode != "direct"
    outer = 6 if overlay.underlay == "ipv6" or any(node.address(4) is None for node in facts.nodes.values() if node.addresses) else 4
    overhead = OVERHEAD[outer] if tunnels else 0
    stated = overlay.mtu if tunnels and isinstance(overlay.mtu, int) else None
    path: Path = ("fabric", "overlay", "mtu")
    if stated is not None and stated < IPV6_LEAST and any(6 in _families(node) for node in facts.nodes.values()):
        yield problem_at(
            loaded, path, f"{stated} is less than the {IPV6_LEAST} bytes that IPv6 pods need", f"{IPV6_LEAST} or more, or auto"
        )
    small = [node for node in facts.nodes.values() if node.mtu is not None and stated is not None and stated + overhead > node.mtu]
    if small:
        yield problem_at(
            loaded, path, f"{stated} and {overhead} bytes of outer headers do not fit into the {small[0].mtu} of {named(small)}",
            f"{(small[0].mtu or 0) - overhead} or less, or auto", warning=True,
        )  # fmt: skip
    for node in facts.nodes.values():
        if node.mtu is not None and 6 in _families(node) and node.mtu < IPV6_LEAST + overhead:
            inside = " inside the overlay" if tunnels else ""
            yield problem_at(
                loaded, ("nodes", node.name, "mtu"), f"{node.mtu} leaves less than IPv6's {IPV6_LEAST} bytes{inside}",
                f"{IPV6_LEAST + overhead} or more", node=node,
            )  # fmt: skip


def _tables(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """Every node of a subnet resolves every other one there, with and without a tunnel."""
    for family in (4, 6):
        subnets = Counter(found for node in facts.nodes.values() if (found := subnet(node, family)) is not None)
        most = max(subnets.values(), default=0)
        name = f"net.ipv{family}.neigh.default.gc_thresh3"
        if most > ARP_TABLE and name not in loaded.spec.sysctls:
            yield problem_at(
                loaded, ("fabric",), f"{most} nodes on one subnet are more than the kernel's table of {ARP_TABLE} neighbours",
                f"say sysctls: {{{name}: {most * 2}}}", warning=True,
            )  # fmt: skip
