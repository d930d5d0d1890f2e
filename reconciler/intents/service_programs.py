"""What the entries of services live in and work by: folders, maps, programs, program arrays, and where the programs are attached."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from reconciler.engine.model import Origin, Unknown
from reconciler.intents import Context, Remark
from reconciler.intents.takeover import carrying
from reconciler.kinds.bpf_folder import BpfFolder, BpfFolderKey
from reconciler.kinds.bpf_map import BpfMap, BpfMapKey
from reconciler.kinds.bpf_map_entry import BpfMapEntry, BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.layout import (
    BACKENDS,
    COUNTS,
    DIRECTIONS,
    FRONTS,
    HOOKS,
    MAPS,
    OBJECTS,
    SLOTS,
    VERSION,
    array_key,
)
from reconciler.kinds.bpf_program import BpfProgram, BpfProgramKey
from reconciler.kinds.bpf_program.objects import path_of
from reconciler.kinds.cgroup_attachment import attachment
from reconciler.kinds.qdisc import qdisc
from reconciler.kinds.tc_filter import tc_filter
from reconciler.spec.services import DeviceRole, NodePorts, Services

OWN = "plumbline"
DIGITS = 12  # of an object's sha256, in the name of its folder


class Pins(NamedTuple):
    """Where a node's maps and programs are pinned."""

    root: str
    digests: dict[str, str]  # of the objects, by name; what lacks is known only on the node

    def map(self, name: str) -> str:
        return f"{self.root}/maps/{name}"

    def folder(self, name: str) -> str:
        """Of an object's programs."""
        digest = self.digests.get(name)
        if digest is None:
            return Unknown.within(f"{self.root}/{name}-{Unknown(f'sha256 of {name}.o')}")
        return f"{self.root}/{name}-{digest[:DIGITS]}"

    def program(self, name: str, program: str) -> str:
        folder = self.folder(name)
        pin = f"{folder}/{program}"
        return Unknown.within(pin) if isinstance(folder, Unknown) else pin


def pins(context: Context, services: Services) -> Pins:
    """On a lab's node, below the folder that stands for /."""
    host = context.facts.host
    return Pins(f"{host.root if host else ''}{services.bpffs}/{OWN}", dict(host.objects) if host else {})


def machinery(context: Context, services: Services, origin: Origin) -> Iterator[Any]:
    """Everything but the entries. Programs that are attached find the real ones through arrays, so these can be changed under them."""
    where = pins(context, services)
    outside = services.node_port != "none"
    objects = [name for name in OBJECTS if name != "device" or outside]
    origins = (origin,)
    for folder in (where.root, f"{where.root}/maps"):
        yield BpfFolder(BpfFolderKey(folder), origins)
    for name in dict.fromkeys(used for one in objects for used in OBJECTS[one].maps):
        made = MAPS[name]
        entries = _sizes(services).get(name, made.max_entries)
        yield BpfMap(BpfMapKey(where.map(name)), made.type, made.key_size, made.value_size, entries, made.flags, origins)
    for name in objects:
        yield _programs(context, where, name, origins)
    for hook, array in HOOKS.items():
        yield _slot(where, array, 0, "sock", hook, origins)
        cgroup = f"{context.facts.host.root if context.facts.host else ''}{services.cgroup}"
        yield attachment(cgroup, hook, where.program("stub", hook))._replace(origin=origins)
    if isinstance(services.node_port, NodePorts):
        for slot, direction in enumerate(DIRECTIONS):
            yield _slot(where, SLOTS, slot, "device", direction, origins)
        for device in dict.fromkeys(_devices(context, services.node_port)):
            if isinstance(device, Remark):
                yield device
                continue
            yield qdisc("", device)._replace(origin=origins)
            for direction in DIRECTIONS:
                yield tc_filter("", device, direction, where.program("stub", direction))._replace(origin=origins)


def _sizes(services: Services) -> dict[str, int]:
    """Of the maps whose size is for people to choose."""
    return {
        FRONTS: services.max_fronts,
        COUNTS: services.max_fronts,
        BACKENDS: services.max_backends,
        f"pl_flow_{VERSION}": services.max_flows,
        **{f"pl_sock{name}_{VERSION}": services.max_sockets for name in ("rev", "peer", "fwd")},
    }


def _programs(context: Context, where: Pins, name: str, origins: tuple[Origin, ...]) -> BpfProgram:
    made = OBJECTS[name]
    maps = tuple(sorted(BpfMapKey(where.map(one)) for one in made.maps))
    offline = context.facts.host is None
    return BpfProgram(
        BpfProgramKey(where.folder(name)),
        tuple(sorted(made.programs)),
        maps,
        Unknown(f"{name}.o of plumbline") if offline else path_of(name),
        where.digests.get(name) or Unknown(f"sha256 of {name}.o"),
        origins,
    )


def _slot(where: Pins, array: str, slot: int, name: str, program: str, origins: tuple[Origin, ...]) -> BpfMapEntry:
    key = BpfMapEntryKey(where.map(array), array_key(slot))
    return BpfMapEntry(key, where.program(name, program), f"{program} → {name}", origins)


def _devices(context: Context, said: NodePorts) -> Iterator[str | Remark]:
    """Those that clients come by, and those that packets take to other nodes: an answer is recognised wherever it comes back."""
    fabric, host = context.spec.fabric, context.facts.host
    where = context.where(("services", "nodePort", "devices"))
    patterns = context.spec.services.patterns if context.spec.services else ()
    uplink = _uplink(context)
    for device in said.devices:
        if isinstance(device, DeviceRole) and isinstance(uplink, Unknown) and host is not None:
            text = f"which device is the uplink of {context.node} cannot be told, so nothing comes in by it"
            yield Remark(f"{text}: say nodes.{context.node}.interface", where, error=True)
        elif isinstance(device, DeviceRole):
            yield uplink
        elif device not in patterns:
            yield device
        elif host is None:
            yield Remark(f"which devices match {device} is known only on the node", where)
        else:
            yield from (name for name in host.links if fnmatchcase(name, device))
    if fabric is not None and fabric.mode in ("overlay", "auto"):
        yield fabric.overlay.device
    if fabric is not None and fabric.mode in ("direct", "auto"):
        yield uplink


def _uplink(context: Context) -> str:
    me, host = context.facts.nodes.get(context.node), context.facts.host
    known = (me.interface if me else None) or (host.uplink if host else None)
    return carrying(context, known or Unknown(f"uplink of {context.node}"))
