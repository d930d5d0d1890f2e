"""What only one device of a namespace may have: the kernel refuses a second one with "File exists"."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.engine.model import Claim
from reconciler.kinds.link.gre import Gre, Ip6gre
from reconciler.kinds.link.row import Link
from reconciler.kinds.link.types import TYPES
from reconciler.kinds.link.vlan import Vlan
from reconciler.kinds.link.vxlan import Vxlan


def claims(row: Link) -> Iterator[Claim]:
    """The resources that a link holds alone."""
    info, netns = row.info, row.key.netns
    if info is None:
        return
    if isinstance(info, Vxlan):
        if not info.external:
            family = 6 if ":" in (info.local or info.group or "") else 4
            yield Claim("VXLAN VNI, port and family", (netns, info.id, info.dstport, family))
    elif isinstance(info, Vlan):
        if row.parent:
            yield Claim("VLAN", (netns, row.parent, info.protocol, info.id))
    elif row.type in TYPES and (name := TYPES[row.type].endpoints):
        if getattr(info, "external", False):
            shared = "GRE over IPv6, with Ethernet or without" if isinstance(info, Ip6gre) else name
            yield Claim(f"external control of {shared}", (netns,))
        else:
            key = info.ikey if isinstance(info, Gre | Ip6gre) else ""
            ends = (info.local or "any", info.remote or "any")  # type: ignore[union-attr]
            yield Claim(f"{name} endpoints", (netns, *ends, row.parent or "", "" if key in ("", None) else f"key {key}"))
