"""What the uplinks and their bridges carry, and who keeps it: facts of the host for the devices that are taken over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from reconciler.engine.model import Wanted
from reconciler.engine.reader import ObservationFailed, Reader, Scope
from reconciler.facts.model import Device, Host, Manager
from reconciler.kernel.opponents.network_manager import network_manager
from reconciler.kernel.opponents.networkd import keeps
from reconciler.kernel.opponents.processes import commands
from reconciler.kinds.address import Address
from reconciler.kinds.address.decode import REQUEST, decode
from reconciler.kinds.link import KIND as LINK
from reconciler.kinds.link import Link
from reconciler.kinds.marks import taken_over
from reconciler.kinds.neighbour import KIND as NEIGHBOUR
from reconciler.kinds.nexthop import KIND as NEXTHOP
from reconciler.kinds.route import KIND as ROUTE

HERE = Scope(("",), Wanted())
DHCP = 16  # RTPROT_DHCP, include/uapi/linux/rtnetlink.h
CLIENTS = frozenset({"dhclient", "dhcpcd", "udhcpc"})
# What people set on a NIC and would miss on the bridge that takes its place (Documentation/networking/ip-sysctl.rst).
SETTINGS = (
    *(f"ipv4.{name}" for name in ("rp_filter", "arp_ignore", "arp_announce", "arp_filter", "proxy_arp", "accept_local")),
    *(f"ipv4.{name}" for name in ("route_localnet", "accept_redirects", "send_redirects", "accept_source_route", "log_martians")),
    *(f"ipv6.{name}" for name in ("accept_redirects", "autoconf", "addr_gen_mode", "use_tempaddr", "accept_ra_defrtr", "accept_ra_pinfo")),
)


def with_devices(host: Host, io: Reader, named: Collection[str]) -> Host:
    """A host's facts with the devices `named` by the spec, and those that a bridge of ours says it took over. Raises ObservationFailed."""
    links: dict[str, Link] = {row.key.name: row for row in LINK.observe(io, HERE)}
    names = {name for name in named if name in links}
    for link in links.values():
        uplink = taken_over(link)
        names |= {link.key.name, uplink} & links.keys() if uplink else set()
    if not names:
        return host
    return host._replace(devices=dict(_devices(host, io, {name: links[name] for name in sorted(names)})))


def _devices(host: Host, io: Reader, links: dict[str, Link]) -> Iterator[tuple[str, Device]]:
    found = io.decoded("", REQUEST, decode)
    routes = [row for row in ROUTE.observe(io, HERE) if row.dev in links or any(hop.dev in links for hop in row.hops)]
    neighbours = [row for row in NEIGHBOUR.observe(io, HERE) if row.key.dev in links]
    nexthops = [row for row in NEXTHOP.observe(io, HERE) if row.key.dev in links]
    for name, link in links.items():
        over = tuple(row for row in routes if row.dev == name or any(hop.dev == name for hop in row.hops))
        leased = [row for row in found.automatic if row.key.dev == name and _is_lease(row)]
        yield (
            name,
            Device(
                link,
                tuple(row for row in found.stated if row.key.dev == name),
                over,
                tuple(row for row in neighbours if row.key.dev == name),
                tuple(str(row.id) for row in nexthops if row.key.dev == name),
                dict(_settings(io, name)),
                _read(io, "ipv6", name, "accept_ra"),
                tuple(_managers(host.root, link, leased, over)),
            ),
        )


def _is_lease(row: Address) -> bool:
    """IPv4 addresses that run out are a DHCP client's; IPv6 ones too where they are whole (RFC 8415), for others an advertisement made."""
    return ":" not in row.key.prefix or row.key.prefix.endswith("/128")


def _settings(io: Reader, name: str) -> Iterator[tuple[str, str]]:
    for setting in SETTINGS:
        family, _, word = setting.partition(".")
        value = _read(io, family, name, word)
        if value and value != _read(io, family, "default", word):
            yield setting, value


def _read(io: Reader, family: str, device: str, word: str) -> str:
    return (io.read("", f"/proc/sys/net/{family}/conf/{device}/{word}") or b"").decode().strip()


def _managers(root: str, link: Link, leased: list[Address], routes: Iterable[Any]) -> Iterator[Manager]:
    """Everybody who would put back what is moved away, or give it up. Raises ObservationFailed."""
    name = link.key.name
    try:
        for one in (*keeps(root, name, link.mac or "", link.ifindex), *network_manager(root, [(name, "ethernet")])):
            yield Manager(one.who, one.evidence, one.remedy)
        clients = sorted({comm for _, comm in commands(root) if comm in CLIENTS}) if leased else []
    except OSError as error:
        raise ObservationFailed(f"who keeps the addresses of {name} cannot be told: {error.filename}: {error.strerror}") from error
    by_dhcp = [row.key.dst for row in routes if row.protocol == DHCP]
    if leased or by_dhcp:
        what = [f"{row.key.prefix} runs out" for row in leased] + [f"route {dst} is proto dhcp" for dst in by_dhcp]
        yield Manager("a DHCP client", ", ".join([*clients, *what]), _static(name, leased, routes))


def _static(name: str, leased: list[Address], routes: Iterable[Any]) -> str:
    """The same addresses without a lease, for ifupdown (interfaces(5))."""
    lines = [f"auto {name}"]
    for row in leased:
        six = ":" in row.key.prefix
        lines += [f"iface {name} inet{'6' if six else ''} static", f"    address {row.key.prefix}"]
        default = "::/0" if six else "0.0.0.0/0"
        via = next((one.via for one in routes if one.key.dst == default and one.via), "")
        lines += [f"    gateway {via}"] if via else []
    text = "\\n".join([*lines, ""])
    return (
        f"printf '{text}' > /etc/network/interfaces.d/plumbline-{name}, take {name} away from the client "
        f"(dhcpcd: denyinterfaces {name} in /etc/dhcpcd.conf; else its `inet dhcp` stanza), then ifup {name}"
    )
