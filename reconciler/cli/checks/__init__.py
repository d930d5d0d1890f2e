"""`plumbline check`: is this host fit for what network.yaml asks of it. Looks, tries in namespaces of its own, changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import click

from reconciler.cli.checks.finding import Finding, Looked
from reconciler.cli.inputs import Inputs, compiled, live_plan, not_this_host, on_this_host, read_inputs, this_node
from reconciler.cli.options import facts_option, file_argument, node_option, root_option
from reconciler.engine.model import WAITS
from reconciler.engine.reader import ObservationFailed
from reconciler.kinds.link import Vxlan
from reconciler.report import screen

_ORDER = ("problem", "unknown", "note", "ok")


@click.command()
@file_argument
@node_option
@facts_option
@click.option("--output", "-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@root_option
def check(file: str, node: str | None, facts: Sequence[str], form: str, root: str) -> int:
    """Is this host fit: tools, kernel, MTU, sysctls, peers, and who else is at work here.

    Changes nothing. Exit status 1 where there is a problem, or a question that could not be answered.
    """
    inputs = read_inputs(file, facts)
    name = this_node(inputs, node)
    found = sorted(_findings(inputs, name, root), key=lambda one: _ORDER.index(one.level))
    bad = sum(one.level in ("problem", "unknown") for one in found)
    if form == "json":
        document = {"node": name, "fit": not bad, "findings": [one.document() for one in found]}
        screen.write(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _show(name, found)
    return 1 if bad else 0


def _show(name: str, found: Sequence[Finding]) -> None:
    for one in found:
        screen.write(f"{one.level:8}{one.what}" + (f" ({one.evidence})" if one.evidence else ""))
        if one.remedy:
            screen.write(f"        → {one.remedy}")
    counted = {level: sum(one.level == level for one in found) for level in _ORDER}
    words = {"problem": "problems", "unknown": "could not be told", "note": "notes"}
    summary = ", ".join(f"{counted[level]} {word}" for level, word in words.items() if counted[level])
    screen.write(f"{name}: {summary or 'fit, nothing stands in the way'}")


def _findings(inputs: Inputs, node: str, root: str) -> Iterator[Finding]:
    from reconciler.kernel.node import KernelNode

    inputs = on_this_host(inputs, node, root)
    if elsewhere := not_this_host(inputs, node):
        yield Finding("problem", "reach", elsewhere, f"correct nodes.{node}.address, or say --node")
    found = compiled(inputs, node)
    wanted = found.wanted
    plan, seen = live_plan(inputs, node, root)
    io = KernelNode()
    try:
        look = Looked(inputs.context(node), wanted, plan, seen, io, root)
        for area, ask in _checks():
            yield from _asked(area, ask, look)
        yield from (Finding("problem" if one.error else "note", "plan", str(one)) for one in found.remarks)
    finally:
        io.close()


def _checks() -> Iterator[tuple[str, Callable[[Looked], Iterable[Finding]]]]:
    from reconciler.cli.checks.kernel import kernel
    from reconciler.cli.checks.mtu import mtu
    from reconciler.cli.checks.reach import reach
    from reconciler.cli.checks.sysctls import sysctls
    from reconciler.cli.checks.tools import plugins, tools

    yield "tools", tools
    yield "kernel", kernel
    yield "cni", lambda look: plugins(look.context.spec, look.root)
    yield "mtu", mtu
    yield "sysctls", sysctls
    yield "reach", reach
    yield "opponents", _opponents
    yield "plan", _pending


def _asked(area: str, ask: Callable[[Looked], Iterable[Finding]], look: Looked) -> Iterator[Finding]:
    try:
        yield from ask(look)
    except ObservationFailed as failure:
        yield Finding("unknown", area, f"{area}: could not be told: {failure}")


def _opponents(look: Looked) -> Iterator[Finding]:
    from reconciler.kernel.opponents import opponents

    found = opponents(look.context, look.wanted, look.seen, look.io, look.root)
    for one in found:
        what = f"{one.who}: could not be told: {one.effect}" if one.level == "unknown" else f"{one.who} {one.effect}"
        yield Finding(one.level, one.sort, what, one.remedy, one.evidence)
    sorts = {one.sort for one in found}
    for port in sorted({link.info.dstport for link in look.wanted.rows("link") if isinstance(link.info, Vxlan)}):
        if "udp-port" not in sorts:
            yield Finding("ok", "udp-port", f"UDP port {port} is free for VXLAN, or held by it")
    if not found:
        yield Finding("ok", "opponents", "nobody else manages, shadows or drops what is ours here")


def _pending(look: Looked) -> Iterator[Finding]:
    """What stands in the way of the plan: conflicts, and what could not be observed."""
    plan = look.plan
    yield from (Finding("problem", "plan", conflict.reason, conflict.remedy) for conflict in plan.conflicts)
    yield from (Finding("unknown", "plan", f"could not be observed: {failure}") for failure in plan.failures)
    held = [action for action in plan.actions if action.held not in ("", WAITS)]
    first = [action for action in held if not action.held.startswith("needs ")]
    yield from (Finding("problem", "plan", f"{action.ref}: {action.held}") for action in first)
    if len(held) > len(first):
        reasons = Counter(action.held for action in held if action.held.startswith("needs "))
        most = ", ".join(f"{count} × {why}" for why, count in reasons.most_common(3))
        yield Finding("problem", "plan", f"{len(held) - len(first)} rows cannot be made: {most}")
    if plan.refusal is not None:
        yield Finding("problem", "plan", f"apply would be refused: {plan.refusal.reason}", plan.refusal.remedy)
    changes = len(plan.actions)
    yield Finding(
        "note" if changes else "ok", "plan", f"{changes} changes pending; plumbline plan shows them" if changes else "nothing to change"
    )
