"""Verbs that change nothing and need no node: validate, plan, explain, schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import click

from reconciler.cli.inputs import (
    Inputs,
    compiled,
    existing,
    is_this_host,
    live_plan,
    offline_plan,
    read_inputs,
    this_node,
)
from reconciler.cli.options import facts_option, file_argument, node_option, root_option
from reconciler.cli.remarks import tell
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.model import Action, Plan
from reconciler.intents import Remark
from reconciler.report import screen
from reconciler.spec.partition import partition, wire

PENDING, REFUSED = 2, 3
EMPTY_NODE = "against an empty node; ‹…› is known only on the node"
THIS_KERNEL = "against this node's kernel"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@facts_option
def validate(files: Sequence[str], facts: Sequence[str]) -> int:
    """Is network.yaml right: schema, values, and what only shows across nodes."""
    status = 0
    for file in files:
        try:
            inputs = read_inputs(file, facts)
            names = inputs.facts.nodes or sorted({pod.node for pod in inputs.facts.pods or ()})
            remarks = {remark for node in names for remark in compiled(inputs, node).remarks}
        except CannotGoOn as error:
            screen.errors(error.messages)
            status = 1
            continue
        screen.errors((str(warning) for warning in inputs.warnings), "warning")
        mistakes = tell(remarks)
        if mistakes:
            status = 1
            screen.write(f"{file}: valid, but {mistakes} mistakes in what pods say")
            continue
        screen.write(f"{file}: valid, {len(inputs.facts.nodes)} nodes, {len(inputs.warnings) + len(remarks)} warnings")
    return status


@click.command()
@file_argument
@node_option
@click.option("--all", "every", is_flag=True, help="The plans of all nodes, each against an empty node.")
@facts_option
@click.option("--snapshot", metavar="FILE", help="Against what `plumbline snapshot` saw of the node.")
@click.option("--from", "old", metavar="OLD", help="Against another network.yaml: what a change of the file does.")
@click.option("--output", "-o", "form", type=click.Choice(["text", "diff", "json", "markdown"]), default="text", show_default=True)
@click.option("--out", metavar="DIR", help="Write a script per node, with the files it needs, fit to be run by hand.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when changes are pending.")
@root_option
def plan(
    file: str,
    node: str | None,
    every: bool,
    facts: Sequence[str],
    snapshot: str | None,
    old: str | None,
    form: str,
    out: str | None,
    detailed_exitcode: bool,
    root: str,
) -> int:
    """What would run: the very commands, with the line of network.yaml that asked for each."""
    _agree(every=every, node=node, snapshot=snapshot, old=old)
    if old is not None:
        inputs, plans, against = _between(old, file, facts, node)
    else:
        inputs = read_inputs(file, facts)
        plans, against = plans_of(inputs, node, every, snapshot, root)
    screen.errors((str(warning) for warning in inputs.warnings), "warning")
    if inputs.facts.pods is not None:
        tell(remark for one in plans for remark in compiled(inputs, one.node).remarks if remark.error)
    _show(inputs, plans, against, form)
    if out is not None:
        from reconciler.report.files import write_plan

        written = [write_plan(one, Path(out), f"{inputs.title} · {against}") for one in plans]
        screen.errors([f"{len(written)} scripts are in {out}"], "note")
    if any(one.conflicts or one.refusal for one in plans):
        return REFUSED
    if any(one.failures for one in plans):
        return 1
    return PENDING if detailed_exitcode and any(not one.empty for one in plans) else 0


def _agree(*, every: bool, node: str | None, snapshot: str | None, old: str | None) -> None:
    """Raises click.UsageError where one option would silently undo another."""
    if every and node is not None:
        raise click.UsageError("--all and --node: say one of them")
    if snapshot is not None and (every or old is not None):
        raise click.UsageError("--snapshot is of one node: it goes with neither --all nor --from")


def plans_of(inputs: Inputs, said: str | None, every: bool, snapshot: str | None, root: str) -> tuple[list[Plan], str]:
    """The plans, and against what they are. Raises CannotGoOn."""
    from reconciler.engine.render import Renderer
    from reconciler.kinds import all_kinds

    renderer = Renderer(all_kinds(), unknown_allowed=True)
    if every:
        if not inputs.facts.nodes:
            raise CannotGoOn(["--all: neither network.yaml nor --facts name a node"])
        return [offline_plan(inputs, name, renderer) for name in inputs.facts.nodes], EMPTY_NODE
    node = this_node(inputs, said)
    if snapshot is not None:
        from reconciler.cli.looks import read_snapshot

        seen, host = read_snapshot(existing(snapshot))
        inputs = inputs._replace(facts=inputs.facts._replace(host=host))
        return [offline_plan(inputs, node, renderer, seen, inputs.limits)], f"against the snapshot {snapshot}"
    if said is None or is_this_host(inputs, node) or not inputs.facts.nodes:
        return [live_plan(inputs, node, root)[0]], THIS_KERNEL
    return [offline_plan(inputs, node, renderer)], EMPTY_NODE


def _between(old: str, new: str, facts: Sequence[str], said: str | None) -> tuple[Inputs, list[Plan], str]:
    """Spec against spec: what the old file would have made is what the new one meets."""
    from reconciler.engine.render import Renderer
    from reconciler.intents.blank import made_by
    from reconciler.kinds import all_kinds

    before, after = read_inputs(old, facts), read_inputs(new, facts)
    renderer = Renderer(all_kinds(), unknown_allowed=True)
    names = [this_node(after, said)] if said else list(dict.fromkeys([*before.facts.nodes, *after.facts.nodes]))
    plans = []
    for name in names:
        seen = made_by(before.context(name), compiled(before, name).wanted) if name in before.facts.nodes else None
        if name in after.facts.nodes:
            plans.append(_foretold(offline_plan(after, name, renderer, seen, after.limits)))
        else:
            screen.errors([f"{name} is no longer in {after.loaded.name}; on it, run: plumbline cleanup"], "note")
    parted = partition(wire(before.loaded.spec), wire(after.loaded.spec))
    if parted:
        after = after._replace(warnings=(Remark(parted), *after.warnings))
    return after, plans, f"spec against spec: {before.title} → {after.title}; a node's own drift is not in it"


def _foretold(plan: Plan) -> Plan:
    """What the guard will say on the node; its digest is known only there."""
    if plan.refusal is None:
        return plan
    remedy = f"on {plan.node}, `plumbline plan` shows the digest to confirm it with (apply --force); or raise limits.maxDeletes"
    return plan._replace(refusal=plan.refusal._replace(remedy=remedy))


def _show(inputs: Inputs, plans: Sequence[Plan], against: str, form: str) -> None:
    if form == "json":
        from reconciler.report.machine import plan_document

        document = [plan_document(one, against) for one in plans]
        screen.write(json.dumps(document if len(plans) != 1 else document[0], indent=2, default=str))
    elif form == "markdown":
        from reconciler.report.markdown import markdown

        screen.write(markdown(plans, inputs.title, against, [str(warning) for warning in inputs.warnings]))
    elif form == "diff":
        from reconciler.kinds import all_kinds
        from reconciler.report.diff import diff

        for one in plans:
            screen.write(diff(one, all_kinds(), f"{inputs.title} · {against}"))
    else:
        for one in plans:
            screen.show_plan(one, f"{inputs.title} · {against}")


@click.command()
@file_argument
@click.argument("query")
@node_option
@facts_option
def explain(file: str, query: str, node: str | None, facts: Sequence[str]) -> int:
    """Which line of network.yaml made this route, FDB entry or link, and how its values came about.

    QUERY is any part of a line, or an address: then the routes towards it; else a name, default/web for a service.
    """
    from reconciler.engine.render import Renderer
    from reconciler.engine.text import about
    from reconciler.kinds import all_kinds

    inputs = read_inputs(file, facts)
    name = this_node(inputs, node)
    found = offline_plan(inputs, name, Renderer(all_kinds(), unknown_allowed=True))
    texts = ((action, (str(action.ref), about(action), *map(str, action.lines))) for action in found.actions)
    matching = [action for action, words in texts if any(query in text for text in words)]
    matching = matching or _towards(query, found) or _named(query, found)
    if not matching:
        raise CannotGoOn([f"nothing that {name} should hold matches {query!r}; `plumbline plan {file} --node {name}` shows all of it"])
    for action in matching:
        for line in action.lines:
            screen.write(str(line))
        if about(action):
            screen.write(f"    {about(action)}")
        for origin in action.change.row.origin:
            screen.write(f"    {origin}" + (f"\n    because {origin.why}" if origin.why else ""))
    return 0


def _named(query: str, plan: Plan) -> list[Action]:
    """What is there for something of this name: a node, a pod's segment, a service."""
    return [action for action in plan.actions if any(query in origin.what for origin in action.change.row.origin)]


def _towards(query: str, plan: Plan) -> list[Action]:
    """The routes that cover an address, the most specific first."""
    try:
        address = ip_address(query)
    except ValueError:
        return []
    routes = [action for action in plan.actions if action.change.kind == "route"]
    covering = [(ip_network(action.change.row.key.dst), action) for action in routes if "/" in action.change.row.key.dst]
    found = [(network, action) for network, action in covering if network.version == address.version and address in network]
    return [action for _, action in sorted(found, key=lambda pair: -pair[0].prefixlen)]


@click.command()
def schema() -> int:
    """The JSON schema of network.yaml."""
    from reconciler.spec.schema import schema_text

    screen.write(schema_text())
    return 0
