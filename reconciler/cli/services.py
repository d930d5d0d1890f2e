"""plumbline services: what is reached where, by which endpoints, and how much came by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.inputs import Inputs, compiled, is_this_host, on_this_host, read_inputs, this_node
from reconciler.cli.options import facts_option, node_option, root_option
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.reader import ObservationFailed
from reconciler.kinds.bpf_map_entry.layout import backend_text, front_text, network_text
from reconciler.kinds.bpf_map_entry.services import Entries, Front, Gate, ServiceTable
from reconciler.report import screen

if TYPE_CHECKING:  # what a verb does not need is not imported
    from reconciler.kernel.service_counts import Held

WRONG = "!"  # how a line begins that tells of something that is not as it should be


@click.command()
@click.argument("prefixes", nargs=-1, metavar="[PREFIX]...")
@click.option("--config", required=True, metavar="PATH", help="network.yaml, or its folder.")
@facts_option
@node_option
@root_option
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For people, or for programs.")
def services(prefixes: Sequence[str], config: str, facts: Sequence[str], node: str | None, root: str, output: str) -> int:
    """Every service: where it is reached, its endpoints, and on the node itself what was counted there.

    PREFIX: names of services begin so, as default/ or default/web. --facts: Services and EndpointSlices, as
    `kubectl get services,endpointslices -A -o yaml` prints them. Exit status 1 where the maps differ from what should be in them.
    """
    inputs = read_inputs(config, facts)
    name = this_node(inputs, node)
    here = bool(root) or is_this_host(inputs, name)
    table = _table(on_this_host(inputs, name, root) if here else inputs, name)
    chosen = {key: one for key, one in table.services.items() if one.doors and (not prefixes or key.startswith(tuple(prefixes)))}
    held = _held(table) if here else None
    if output == "json":
        document = {"node": name, "services": [_document(*one, held) for one in chosen.items()], "drops": held.drops if held else None}
        screen.write(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for line in _lines(chosen, held):
            screen.write(line)
    return int(held is not None and any(_wrong(held, one) for one in chosen.values()))


def _table(inputs: Inputs, node: str) -> ServiceTable:
    """Raises CannotGoOn."""
    if inputs.loaded.spec.services is None:
        raise CannotGoOn([f"{inputs.loaded.name} has no section services, so plumbline serves none; say services: {{}}"])
    if inputs.facts.services is None:
        text = "which services there are is not known; give --facts FILE, with what `kubectl get services,endpointslices -A -o yaml` prints"
        raise CannotGoOn([text])
    found = next((row for row in compiled(inputs, node).wanted.rows("bpf_map_entry") if isinstance(row, ServiceTable)), None)
    if found is None:
        raise CannotGoOn([f"services are not for {node} (services.nodeSelector)"])
    return found


def _held(table: ServiceTable) -> Held:
    """What this host's maps hold. Raises CannotGoOn."""
    from reconciler.kernel.service_counts import held

    try:
        return held(table.key.map.rpartition("/")[0])
    except ObservationFailed as error:
        raise CannotGoOn(
            [f"{error}; the maps are there once plumbline apply or its daemon has run on this node, and root may read them"]
        ) from None


def _wrong(held: Held, entries: Entries) -> list[str]:
    """The fronts that the maps lack, that count other endpoints than there should be, or let others in."""
    return [_place(one, entries) for one in entries.doors if not held.holds(one, entries)]


def _place(one: Front | Gate, entries: Entries) -> str:
    """Where a service is reached, and by whom."""
    text = front_text(one.key)
    return f"{text}, only {', '.join(_sources(one, entries)) or 'nobody'}" if isinstance(one, Gate) else text


def _sources(gate: Gate, entries: Entries) -> list[str]:
    return [network_text(network) for network in dict(entries.ranges)[gate.ranges]]


def _lines(chosen: Mapping[str, Entries], held: Held | None) -> Iterator[str]:
    counted = held.lists(chosen) if held else {}
    for name, entries in chosen.items():
        yield name
        wrong = _wrong(held, entries) if held else []
        for text in dict.fromkeys(_place(one, entries) for one in entries.doors):
            yield f"  {text}" if text not in wrong else f"{WRONG} {text} is not in the map as it should be"
        for label, backends in entries.lists:
            local = sum(backend_text(one).endswith(" here") for one in backends)
            said = f"  {label.removeprefix(f'{name}:')}: {len(backends)} ready, {local} here"
            count = counted.get(label)
            yield f"{said} · {count.connections:,} connections, {count.packets:,} packets, {count.bytes:,} bytes" if count else said
            for one in backends:
                yield f"    {backend_text(one)}"
    if held is not None and any(held.drops.values()):
        yield "went nowhere: " + ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in held.drops.items() if count)


def _document(name: str, entries: Entries, held: Held | None) -> dict[str, Any]:
    counted = held.lists({name: entries}) if held else {}
    return {
        "name": name,
        "fronts": [_front(one, entries) for one in entries.doors],
        "lists": [
            {
                "name": label,
                "backends": [backend_text(one).removesuffix(" here") for one in backends],
                "here": sum(backend_text(one).endswith(" here") for one in backends),
                "counted": counted[label]._asdict() if label in counted else None,
            }
            for label, backends in entries.lists
        ],
        "wrong": _wrong(held, entries) if held else [],
    }


def _front(one: Front | Gate, entries: Entries) -> dict[str, Any]:
    told = {"address": front_text(one.key), "list": one.list, "affinity": one.affinity}
    return {**told, "sourceRanges": _sources(one, entries)} if isinstance(one, Gate) else told
