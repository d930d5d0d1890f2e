"""plumbline list: the pods that are in segments, in kube-vxlan-controller's format."""

from __future__ import annotations

from collections.abc import Sequence

import click

from reconciler.cli.inputs import read_inputs
from reconciler.cli.members import live, members_of
from reconciler.cli.options import facts_option
from reconciler.report import screen


@click.group("list")
def list() -> None:
    """List specified resources or attributes."""


@list.command("pods")
@click.argument("prefixes", nargs=-1, metavar="[PREFIX]...")
@click.option("--config", required=True, metavar="PATH", help="network.yaml, or its folder.")
@facts_option
def pods(prefixes: Sequence[str], config: str, facts: Sequence[str]) -> int:
    """Every pod that is in a segment: its name, the segment, its address there; a line for each.

    Of pods on this host the addresses that the kernel has, of others those that they should have.
    """
    inputs = read_inputs(config, facts)
    found = members_of(inputs).by_pod()
    with live(inputs) as host:
        for pod in inputs.facts.pods or ():
            if prefixes and not pod.name.startswith(tuple(prefixes)):
                continue
            for member in found.get(pod.key, ()):
                addresses = host.addresses(member) if host.here(member) else member.ip
                for address in addresses or ("",):
                    screen.write(f"{pod.key} {member.segment} {address}")
    return 0
