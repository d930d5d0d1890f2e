"""Are the tools there, and new enough for what network.yaml asks of this node; and the CNI plugins."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reconciler.cli.changes import OLDEST_IPROUTE2
from reconciler.cli.checks.finding import Finding, Looked
from reconciler.engine.model import Wanted
from reconciler.kinds import all_kinds
from reconciler.spec.model import ClusterNetwork

PLUGINS = ("bridge", "host-local", "portmap")
Version = tuple[int, int, int]


class _Tool(NamedTuple):
    """A tool, whom to ask for it, and which kinds of rows need it (none: all)."""

    name: str
    package: str
    version: tuple[str, ...]
    kinds: frozenset[str] = frozenset()


TOOLS = (
    _Tool("ip", "iproute2", ("-V",)),
    _Tool("bridge", "iproute2", ("-V",), frozenset({"fdb", "link"})),
    _Tool("sysctl", "procps", ("-V",), frozenset({"sysctl"})),
    _Tool("wg", "wireguard-tools", ("--version",), frozenset({"wireguard", "wg_peer"})),
    _Tool("ovs-vsctl", "openvswitch-switch", ("--version",), frozenset({"ovs_bridge", "ovs_port"})),
    _Tool("nft", "nftables", ("-v",), frozenset({"nft", "nft_rule"})),
)
_TELLS = {"ip": "iproute2", "nft": "nft"}  # whose version stands for a name in the attribute tables


class Least(NamedTuple):
    """The least version that a kind, or one of its attributes, asks for."""

    of: str  # kernel, iproute2, nft
    version: Version
    why: str  # "rule", "macvlan.bclim"


def version_in(text: str) -> Version | None:
    """The first number with dots: "iproute2-6.1.0", "nftables v1.0.6", "6.18.5-cloud"; None for none."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def written(version: Version) -> str:
    return ".".join(str(part) for part in (version if version[2] else version[:2]))


def least_versions(wanted: Wanted) -> Iterator[Least]:
    """What the attribute tables say of the wanted rows."""
    kinds = all_kinds()
    for name in wanted.kinds():
        if not wanted.of(name):
            continue
        table = yaml.safe_load((kinds[name].folder / "attributes.yaml").read_text())
        yield from _said(table.get("least"), name)
        for attribute, said in table["attributes"].items():
            if isinstance(said, dict) and said.get("least") and any(_states(row, attribute) for row in wanted.rows(name)):
                yield from _said(said["least"], f"{name} {attribute}")


def _said(least: Any, why: str) -> Iterator[Least]:
    for of, text in (least or {}).items():
        version = version_in(str(text))
        if version is not None:
            yield Least(of, version, why)


def _states(row: Any, attribute: str) -> bool:
    """Whether a wanted row says anything but the default of "ttl", "vxlan.ttl", "port.guard" or "mtu.ipv6"."""
    *sort, name = attribute.split(".")
    holders = [row] if not sort else [part for part in row if type(part).__name__.lower() == sort[0] or getattr(row, sort[0], None) is part]
    for holder in holders or [row]:
        names = getattr(holder, "_fields", ())
        if name in names:
            defaults = getattr(holder, "_field_defaults", {})
            return getattr(holder, name) not in (None, defaults.get(name))
    return False


def strictest(found: Iterable[Least], of: str) -> Least | None:
    """The highest of the least versions of one program."""
    return max((one for one in found if one.of == of), key=lambda one: one.version, default=None)


def tools(look: Looked) -> Iterator[Finding]:
    """The tools that the wanted rows are put into words for."""
    needed = {kind for kind in look.wanted.kinds() if look.wanted.of(kind)}
    least = [*least_versions(look.wanted), Least("iproute2", (*OLDEST_IPROUTE2, 0), "ip nexthop")]
    for tool in TOOLS:
        if tool.kinds and not tool.kinds & needed:
            continue
        if shutil.which(tool.name) is None:
            yield Finding(
                "problem", "tools", f"{tool.name} is missing", f"install {tool.package} (Debian, Ubuntu: apt-get install {tool.package})"
            )
            continue
        said = subprocess.run([tool.name, *tool.version], capture_output=True, text=True, check=False).stdout.strip().splitlines()
        asked = strictest(least, _TELLS.get(tool.name, ""))
        version = version_in(said[0]) if said else None
        if asked is None:
            yield Finding("ok", "tools", f"{tool.name}: {said[0] if said else 'there'}")
        elif version is None:
            yield Finding(
                "unknown",
                "tools",
                f"{tool.name}: could not be told: it prints no version; {written(asked.version)} is needed for {asked.why}",
            )
        elif version < asked.version:
            yield Finding(
                "problem", "tools", f"{tool.name} {written(version)} is too old: {asked.why} needs {asked.of} {written(asked.version)}",
                f"install a newer {tool.package}", shutil.which(tool.name) or "",
            )  # fmt: skip
        else:
            yield Finding("ok", "tools", f"{tool.name}: {said[0]} ({written(asked.version)} or newer is needed, for {asked.why})")


def plugins(spec: ClusterNetwork, root: str) -> Iterator[Finding]:
    """The CNI plugins that our file names."""
    if spec.cni is None:
        return
    named = (*PLUGINS, "plumbline") if spec.cni.chained else PLUGINS
    missing = [name for name in named if not Path(f"{root}{spec.cni.bin_dir}/{name}").exists()]
    if missing:
        yield Finding(
            "problem", "cni", f"CNI plugin{'s' if len(missing) > 1 else ''} {', '.join(missing)} not found in {spec.cni.bin_dir}",
            f"plumbline install-cni --bin-dir {spec.cni.bin_dir}" if missing == ["plumbline"]
            else "install containernetworking-plugins, and say cni.binDir if they are elsewhere (Debian: /usr/lib/cni)",
        )  # fmt: skip
    else:
        yield Finding("ok", "cni", f"CNI plugins {', '.join(named)} are in {spec.cni.bin_dir}")
