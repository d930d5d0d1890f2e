"""Does this kernel have what network.yaml asks of this node."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from reconciler.cli.checks.finding import Finding, Looked
from reconciler.cli.checks.tools import least_versions, strictest, version_in, written
from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.trial import Commands, tried

_ADD = ("ip", "link", "add", "t0")
_VETH = (*_ADD, "type", "veth", "peer", "name", "t1")
# What a type of link needs to be made at all; the others need nothing.
LINKS: dict[str, Commands] = {
    "vxlan": [(*_ADD, "type", "vxlan", "id", "1", "dstport", "4789")],
    "veth": [_VETH],
    "macvlan": [_VETH, ("ip", "link", "add", "t2", "link", "t0", "type", "macvlan")],
    "ipvlan": [_VETH, ("ip", "link", "add", "t2", "link", "t0", "type", "ipvlan")],
    "vlan": [_VETH, ("ip", "link", "add", "t2", "link", "t0", "type", "vlan", "id", "1")],
    "vrf": [(*_ADD, "type", "vrf", "table", "1")],
    "ipip": [(*_ADD, "type", "ipip", "remote", "192.0.2.1")],  # without ends it is the kernel's own tunl0, which exists
    "sit": [(*_ADD, "type", "sit", "remote", "192.0.2.1")],
    "gre": [(*_ADD, "type", "gre", "remote", "192.0.2.1")],
    "gretap": [(*_ADD, "type", "gretap", "remote", "192.0.2.1")],
    "ip6tnl": [(*_ADD, "type", "ip6tnl", "remote", "2001:db8::1")],
    "ip6gre": [(*_ADD, "type", "ip6gre", "remote", "2001:db8::1")],
    "ip6gretap": [(*_ADD, "type", "ip6gretap", "remote", "2001:db8::1")],
    "geneve": [(*_ADD, "type", "geneve", "id", "1", "remote", "192.0.2.1")],
}
KINDS: dict[str, Commands] = {
    "nexthop": [("ip", "link", "set", "lo", "up"), ("ip", "nexthop", "add", "id", "1", "dev", "lo")],
    "rule": [("ip", "rule", "add", "priority", "1", "table", "1", "protocol", "94")],
    "nft": [
        (
            "nft",
            "add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c masquerade",
        )
    ],
    "nft_rule": [("nft", "add table ip t; add chain ip t c; add rule ip t c ip saddr 192.0.2.0/24 accept")],
}
WORDS = {"nexthop": "nexthop objects", "rule": "policy rules", "nft": "nftables with NAT", "nft_rule": "nftables"}
_LACKS = ("Unknown device type", "not supported", "No such file or directory", "Unknown device")


def kernel(look: Looked) -> Iterator[Finding]:
    """Its version, and each type of link and kind of row that is wanted, tried out in a namespace of its own."""
    yield from _version(look)
    types = sorted({link.type for link in look.wanted.rows("link") if link.type not in (None, "physical") and not link.adopt})
    trials: dict[str, Commands] = {f"{type_} devices": LINKS.get(type_, [(*_ADD, "type", type_)]) for type_ in types}
    trials |= {WORDS[kind]: commands for kind, commands in KINDS.items() if look.wanted.of(kind)}
    try:
        found = tried(trials)
    except ObservationFailed as failure:
        yield Finding("unknown", "kernel", f"whether this kernel has {', '.join(trials)}: could not be told: {failure}")
        return
    good = [name for name, complaint in found.items() if not complaint]
    if good:
        yield Finding("ok", "kernel", f"this kernel has {', '.join(good)}")
    for name, complaint in found.items():
        if complaint:
            module = name.partition(" ")[0] if name.endswith("devices") else "nf_tables" if name.startswith("nft") else ""
            lacks = any(words in complaint for words in _LACKS)
            yield Finding(
                "problem" if lacks else "unknown", "kernel",
                f"this kernel has no {name}" if lacks else f"whether this kernel has {name}: could not be told: {complaint}",
                (f"modprobe {module}, or " if module else "") + "boot a kernel that is built with it" if lacks else "",
                complaint,
            )  # fmt: skip


def _version(look: Looked) -> Iterator[Finding]:
    release = platform.release()
    asked, version = strictest(least_versions(look.wanted), "kernel"), version_in(release)
    if asked is None:
        yield Finding("ok", "kernel", f"Linux {release}")
    elif version is None:
        yield Finding("unknown", "kernel", f"Linux {release}: could not be told whether it is {written(asked.version)} or newer")
    elif version < asked.version:
        yield Finding("problem", "kernel", f"Linux {release} is too old: {asked.why} needs {written(asked.version)}", "boot a newer kernel")
    else:
        yield Finding("ok", "kernel", f"Linux {release} ({written(asked.version)} or newer is needed, for {asked.why})")
