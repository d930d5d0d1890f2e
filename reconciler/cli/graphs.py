"""The verb graph: a picture of nodes, subnets and transports."""

from __future__ import annotations

from collections.abc import Sequence

import click

from reconciler.cli.inputs import read_inputs, this_node
from reconciler.cli.options import facts_option, file_argument
from reconciler.cli.trouble import CannotGoOn
from reconciler.report import screen


@click.command()
@file_argument
@facts_option
@click.option("--node", metavar="NAME", help="Only this node, with its peers and why it reaches them as it does.")
@click.option("--output", "-o", "form", type=click.Choice(["svg", "mermaid"]), default="svg", show_default=True)
def graph(file: str, facts: Sequence[str], node: str | None, form: str) -> int:
    """A picture of the nodes, their subnets and how they reach each other, on standard output.

    plumbline graph network.yaml > network.svg. Of more than 24 nodes each subnet is one box.
    """
    from reconciler.report import graph as made
    from reconciler.report.graph_mermaid import mermaid, star_mermaid
    from reconciler.report.graph_svg import star_svg, svg

    inputs = read_inputs(file, facts)
    spec, known = inputs.loaded.spec, inputs.facts
    if not known.nodes:
        raise CannotGoOn([f"{file} names no nodes; give them with --facts FILE, as `kubectl get nodes -o yaml` prints them"])
    title = spec.metadata.name
    if node is not None:
        star = made.star(title, spec, known, this_node(inputs, node))
        screen.write(star_svg(star) if form == "svg" else star_mermaid(star))
        return 0
    try:
        whole = made.graph(title, spec, known)
    except made.TooMany as error:
        raise CannotGoOn([str(error)]) from None
    screen.write(svg(whole) if form == "svg" else mermaid(whole))
    return 0
