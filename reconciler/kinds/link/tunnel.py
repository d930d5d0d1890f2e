"""What tunnels over IPv4 and over IPv6 have in common (ip-link(8), include/uapi/linux/if_tunnel.h, ip6_tunnel.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from reconciler.kinds.link.vxlan import tos as tos_of
from reconciler.kinds.spelling import U8, Number, Text, address, one_of
from reconciler.wire import netlink as wire

ENCAP_LIMIT_IGNORED, TCLASS_INHERITED, FLOWLABEL_INHERITED = 0x1, 0x2, 0x4  # IP6_TNL_F_*
DSCP_COPIED, FWMARK_INHERITED, LOCAL_REMOTE_ALLOWED = 0x10, 0x20, 0x40
GRE_CSUM, GRE_KEY, GRE_SEQ = 0x8000, 0x2000, 0x1000  # big-endian on the wire


def _no_text(text: str) -> str:
    raise ValueError(f"found {text!r}; allowed: a number")


def ipv4(text: str) -> str:
    """An IPv4 address."""
    if ":" in text:
        raise ValueError(f"found {text}; allowed: an IPv4 address, as the tunnel runs over IPv4")
    return address(text)


def ipv6(text: str) -> str:
    """An IPv6 address."""
    if ":" not in text:
        raise ValueError(f"found {text}; allowed: an IPv6 address, as the tunnel runs over IPv6")
    return address(text)


def octet(payload: bytes) -> str:
    """A type of service or traffic class as iproute2 prints it."""
    return hex(payload[0]) if payload[0] else "0"


Over4 = Annotated[str, Text(ipv4)]
Over6 = Annotated[str, Text(ipv6)]
Ttl = Annotated[int, Number(1, 255)] | Annotated[str, one_of("inherit")]
Tos = Annotated[str, Text(tos_of)]
Key = int | Annotated[str, Text(_no_text)]
Encaplimit = U8 | Annotated[str, one_of("none")]
Hoplimit = U8
Flowlabel = Annotated[int, Number(0, 0xFFFFF)] | Annotated[str, one_of("inherit")]
Fwmark6 = int | Annotated[str, one_of("inherit")]


def ttl(payload: bytes) -> int | str:
    """0 is the kernel's number for "inherit"."""
    return payload[0] or "inherit"


def tos(payload: bytes) -> str:
    """1 is the kernel's number for "inherit"."""
    return "inherit" if payload[0] == 1 else octet(payload)


def peer(payload: bytes) -> str:
    """An end of the tunnel; "" for any."""
    return wire.address(payload) if any(payload) else ""


def over_ipv6(flags: int, flowinfo: int) -> dict[str, Any]:
    """What the flags and the flow information of a tunnel over IPv6 say."""
    tclass = (flowinfo >> 20) & 0xFF
    values: dict[str, Any] = {
        "tclass": "inherit" if flags & TCLASS_INHERITED else hex(tclass) if tclass else "0",
        "flowlabel": "inherit" if flags & FLOWLABEL_INHERITED else flowinfo & 0xFFFFF,
        "dscp_inherit": bool(flags & DSCP_COPIED),
        "allow_localremote": bool(flags & LOCAL_REMOTE_ALLOWED),
    }
    if flags & ENCAP_LIMIT_IGNORED:
        values["encaplimit"] = "none"
    if flags & FWMARK_INHERITED:
        values["fwmark"] = "inherit"
    return values


def keyed(found: Mapping[int, bytes]) -> dict[str, Any]:
    """Keys, checksums and sequence numbers of GRE: IFLA_GRE_IFLAGS, OFLAGS, IKEY, OKEY."""
    values: dict[str, Any] = {}
    for way, flags_at, key_at in (("i", 2, 4), ("o", 3, 5)):
        flags = wire.be16(found[flags_at]) if flags_at in found else 0
        values[f"{way}csum"], values[f"{way}seq"] = bool(flags & GRE_CSUM), bool(flags & GRE_SEQ)
        if flags & GRE_KEY and key_at in found:
            values[f"{way}key"] = wire.be32(found[key_at])
    return values


def fixed(type_: str, old: Any, new: Any) -> str | None:
    """Why one tunnel cannot become the other in place (measured, see attributes.yaml)."""
    if getattr(new, "external", None) not in (None, getattr(old, "external", None)):
        return f"external control of a {type_} device cannot change in place"
    if type_ in ("ipip", "sit", "gre") and new.remote is not None and bool(new.remote) is not bool(old.remote):
        return f"a {type_} device to one remote and one to any are different in kind"
    if type_ in ("ipip", "sit") and new.mode not in (None, old.mode):
        return f"the mode of a {type_} device cannot change in place"
    if getattr(old, "dscp_inherit", False) and new.dscp_inherit is False:
        return f"iproute2 has no word that ends `dscp inherit` of a {type_} device"
    return None
