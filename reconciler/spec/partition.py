"""What nodes must agree on to hear each other: a change of it parts those that have it from those that do not yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.spec.model import ClusterNetwork


def wire(spec: ClusterNetwork) -> Mapping[str, int]:
    """What goes over the wire, by its path in network.yaml."""
    found: dict[str, int | None] = {}
    if spec.fabric is not None and spec.fabric.mode in ("overlay", "auto"):
        found["fabric.overlay.vni"], found["fabric.overlay.port"] = spec.fabric.overlay.vni, spec.fabric.overlay.port
    for name, segment in spec.segments.items():
        found[f"segments.{name}.vni"], found[f"segments.{name}.port"] = segment.vni, segment.port
    return {path: value for path, value in found.items() if value is not None}


def partition(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """What parts the nodes while a change comes to them, one after the other; empty where nothing does."""
    changed = [f"{path} is {now[path]} and was {value}" for path, value in before.items() if now.get(path, value) != value]
    if not changed:
        return ""
    return f"partition: {', '.join(changed)}: nodes that have it and nodes that do not yet do not hear each other"
