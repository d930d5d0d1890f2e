"""Kind `sysctl`: network parameters of the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.sysctl.row import Sysctl, SysctlKey, words

__all__ = ["KIND", "Sysctl", "SysctlKey", "device_of", "path_of", "sysctl"]

AFTER_LINKS, LAST = 25, 26
_PER_DEVICE = frozenset({"conf", "neigh"})  # net.ipv4.conf.DEV.x, net.ipv6.neigh.DEV.x, net.mpls.conf.DEV.x
_NOT_DEVICES = frozenset({"all", "default", "lo"})  # there in every namespace


def sysctl(netns: str, name: str, value: object) -> Sysctl:
    """A parameter and its value, normalised: 1, True, "4096 131072 6291456" and tuples are all understood."""
    return Sysctl(SysctlKey(netns, name), words(value))


def path_of(name: str) -> str | None:
    """The file of a parameter; None for a name that is no network parameter, or that leaves the folder."""
    parts = [part.replace("/", ".") for part in name.split(".")]
    if len(parts) < 2 or parts[0] != "net" or any(part in ("", ".", "..") for part in parts):
        return None
    return "/proc/sys/" + "/".join(parts)


def device_of(name: str) -> str:
    """The device that a parameter belongs to; empty for those of the whole namespace."""
    parts = name.split(".")
    if len(parts) < 5 or parts[0] != "net" or parts[2] not in _PER_DEVICE or parts[3] in _NOT_DEVICES:
        return ""
    return parts[3].replace("/", ".")


class SysctlKind(Kind[Sysctl]):
    """Parameters are everybody's: the stated ones get their value, and keep it when they leave the spec.

    Nothing tells who set a value and no event tells that it changed. Parameters
    of the namespace come before links (a new link copies `default`), those of a
    link after it, and IPv6 forwarding after those: switched on, it removes the
    default routes of router advertisements from every link whose accept_ra is not 2.
    """

    name = "sysctl"
    rank = 10
    row = Sysctl
    grammar = (("sysctl", "-w"),)
    uncompared = 2
    deletes = False
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[Sysctl]:
        for want in scope.wanted.rows(self.name):
            key = want.key
            path = path_of(key.name)
            content = io.read(key.netns, path) if path else None
            if content is not None:
                yield Sysctl(key, words(content.decode("utf-8", "replace")), False)
            elif not device_of(key.name):
                yield Sysctl(key, "", True)

    def owner(self, row: Sysctl, seen: Seen) -> Owner:
        return Owner.OURS

    def adopts(self, row: Sysctl) -> bool:
        return True

    def normal(self, row: Sysctl) -> Sysctl:
        return sysctl(row.key.netns, row.key.name, row.value)

    def rank_of(self, row: Sysctl) -> int:
        name = row.key.name
        if name.startswith("net.ipv6.conf.") and name.endswith(".forwarding"):
            return LAST
        return AFTER_LINKS if device_of(name) else self.rank

    def needs(self, row: Sysctl) -> tuple[Ref, ...]:
        dev = device_of(row.key.name)
        return (Ref("link", (row.key.netns, dev)),) if dev else ()

    def same(self, old: Sysctl, new: Sysctl) -> bool:
        return not self.differs(old, new)

    def differs(self, old: Sysctl, new: Sysctl) -> tuple[str, ...]:
        return ("value",) if old.missing or words(old.value) != words(new.value) else ()

    def impossible(self, row: Sysctl, seen: Seen) -> str:
        name = row.key.name
        if path_of(name) is None:
            return f"{name}: only parameters below net. are managed; write it as sysctl(8) prints it"
        if any(found.missing for found in seen.at(self.name, row.key)):
            return f"this kernel has no {name} here: check the spelling, load the module that brings it, or take it out of the spec"
        return ""


KIND = SysctlKind()
