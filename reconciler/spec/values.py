"""Checks of single values, each with an error that says what is allowed."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated

from pydantic import AfterValidator

from reconciler.kinds.file.row import FOLDERS, may_hold
from reconciler.kinds.sysctl.row import parameter

_NAME = re.compile(r"[A-Za-z0-9_.@-]+")
_NODE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# What iproute2 reads as something else than a name, in full or abbreviated (ip-link(8)).
_KEYWORDS = (
    "dynamic",
    "permanent",
    "all",
    "default",
    "dev",
    "type",
    "up",
    "down",
    "name",
    "group",
    "master",
    "help",
    "vf",
    "lo",
    "via",
    "nomaster",
)
_SITE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_SHARE = re.compile(r"(100|[0-9]{1,2})%")


def interface_name(value: str) -> str:
    """A device name that the kernel (15 bytes, no blank, '/' or ':') and iproute2 can take."""
    allowed = "1 to 15 of the characters a-z A-Z 0-9 _ . - @, not beginning with '-' or a dot"
    if not 1 <= len(value.encode()) <= 15:
        raise ValueError(f"{value!r} is {len(value.encode())} bytes long; allowed: {allowed}")
    if not _NAME.fullmatch(value) or value[0] in "-.":
        raise ValueError(f"{value!r} is no name for a network device; allowed: {allowed}")
    if any(word == value or (word.startswith(value) and len(value) <= 2) for word in _KEYWORDS):
        raise ValueError(f"{value!r} is a word that iproute2 reads as something else; choose another name, {value}0 for example")
    return value


def node_name(value: str) -> str:
    """A Kubernetes node name (RFC 1123 subdomain)."""
    if len(value) > 253 or not _NODE.fullmatch(value):
        raise ValueError(f"{value!r} is no node name; allowed: a-z 0-9 - and dots, beginning and ending with a letter or digit")
    return value


def cidr(value: str) -> str:
    """A network in its shortest form, without host bits."""
    try:
        whole = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is no network; allowed: an address and a prefix length, 10.244.0.0/16 or fd00:10:244::/48") from None
    if "/" not in value:
        raise ValueError(f"{value!r} has no prefix length; write {value}/24, or whatever its length is")
    _no_zone(value)
    if ip_interface(value).ip != whole.network_address:
        raise ValueError(f"{value!r} has host bits; the network is {whole}")
    if whole.prefixlen == 0 or whole.is_multicast or whole.is_loopback or whole.network_address in _LINK_LOCAL[whole.version]:
        raise ValueError(f"{value!r} cannot be routed between nodes; allowed: a unicast network, 10.244.0.0/16 for example")
    return str(whole)


_LINK_LOCAL = {4: ip_network("169.254.0.0/16"), 6: ip_network("fe80::/10")}


def _no_zone(value: str) -> None:
    if "%" in value:
        raise ValueError(f"{value!r} names a zone (%), which is of one node's own making; leave it out")


def address_with_prefix(value: str) -> str:
    """A node's address, best with the length of its subnet's prefix: 10.0.1.11/24."""
    try:
        interface = ip_interface(value)
    except ValueError:
        raise ValueError(f"{value!r} is no address; allowed: 10.0.1.11/24 or fd00:1::11/64") from None
    _no_zone(value)
    network = interface.network
    if (
        interface.ip.is_multicast
        or interface.ip.is_loopback
        or interface.ip.is_unspecified
        or interface.ip in _LINK_LOCAL[interface.version]
    ):
        raise ValueError(f"{value!r} cannot be the address of a node; allowed: an address of it that other nodes can reach")
    if "/" in value and network.num_addresses > 2:
        last = network.broadcast_address if interface.version == 4 else None
        if interface.ip in (network.network_address, last):
            which = "broadcast" if interface.ip == last else "network"
            raise ValueError(f"{value!r} is the {which} address of its subnet, not a host's")
    return f"{interface.ip}/{network.prefixlen}" if "/" in value else str(interface.ip)


def endpoint(value: str) -> str:
    """An address, perhaps with a UDP port: 198.51.100.13, 198.51.100.13:14789, [2001:db8::1]:4789."""
    host, port = split_endpoint(value)
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(
            f"{value!r} is no address; allowed: 198.51.100.13, 198.51.100.13:14789, 2001:db8::1, [2001:db8::1]:14789"
        ) from None
    _no_zone(value)
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        raise ValueError(f"{value!r} cannot be reached from another site; allowed: a unicast address")
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"{value!r}: a port is 1 to 65535")
    return str(address) if port is None else f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def split_endpoint(value: str) -> tuple[str, int | None]:
    """Address and port of an endpoint; the port is None where none is said, -1 where it is no number."""
    bracketed = re.fullmatch(r"\[([^]]+)\](?::(.*))?", value)
    if bracketed:
        host, port = bracketed.groups()
    elif value.count(":") == 1:
        host, port = value.split(":")
    else:
        host, port = value, None
    if port is None:
        return host, None
    return host, int(port) if port.isascii() and port.isdigit() else -1


def sysctl_name(value: str) -> str:
    """A kernel parameter of the network."""
    try:
        return parameter(value)
    except ValueError:
        raise ValueError(f"{value!r} is no kernel parameter of the network; allowed: names below net., as net.ipv4.ip_forward") from None


def site_name(value: str) -> str:
    """A site: one plain word, as labels' values are (Kubernetes)."""
    if value and not _SITE.fullmatch(value):
        allowed = "up to 63 of a-z A-Z 0-9 _ . -, beginning and ending with a letter or digit"
        raise ValueError(f"{value[:80]!r} is no name of a site; allowed: {allowed}")
    return value


def share(value: str) -> str:
    """A share in percent."""
    if not _SHARE.fullmatch(value):
        raise ValueError(f"{value!r} is no share; allowed: 0% to 100%")
    return value


def folder(value: str) -> str:
    """An absolute folder, without '..'."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.+@-]+)+", value) or "/../" in f"{value}/" or "/./" in f"{value}/":
        raise ValueError(f"{value!r} is no folder; allowed: an absolute path without '..', blanks and a / at its end")
    return value


def written_folder(value: str) -> str:
    """A folder that plumbline writes files to."""
    if not may_hold(folder(value)):
        raise ValueError(f"{value!r} is none that plumbline writes to; allowed: {FOLDERS}")
    return value


def conflist_name(value: str) -> str:
    """The name of our CNI file: by its name it is known as ours."""
    if not re.fullmatch(r"(\d+-)?plumbline([_-][A-Za-z0-9_-]+)?\.conflist", value):
        raise ValueError(f"{value!r}: the file is known as ours by its name; allowed: 10-plumbline.conflist, 05-plumbline-x.conflist")
    return value


InterfaceName = Annotated[str, AfterValidator(interface_name)]
NodeName = Annotated[str, AfterValidator(node_name)]
Cidr = Annotated[str, AfterValidator(cidr)]
AddressWithPrefix = Annotated[str, AfterValidator(address_with_prefix)]
PublicAddress = Annotated[str, AfterValidator(endpoint)]
Site = Annotated[str, AfterValidator(site_name)]
Share = Annotated[str, AfterValidator(share)]
Folder = Annotated[str, AfterValidator(folder)]
WrittenFolder = Annotated[str, AfterValidator(written_folder)]
ConflistName = Annotated[str, AfterValidator(conflist_name)]
SysctlName = Annotated[str, AfterValidator(sysctl_name)]
