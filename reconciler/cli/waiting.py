"""The verb that waits for a whole cluster: wait."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import api_of, kubeconfig_option, server_option
from reconciler.cli.trouble import CannotGoOn
from reconciler.report import screen

if TYPE_CHECKING:  # what a verb does not need is not imported
    from reconciler.cluster.rollcall import Rollcall, Standing

_SECONDS = {"s": 1, "m": 60, "h": 3600}
SHOWN = 20  # nodes that are named one by one
_LOOK = 1.0  # seconds between two looks at the clock


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> float:
    match = re.fullmatch(r"(\d+)([smh])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no time; write 90s, 10m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def _digest(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not re.fullmatch("[0-9a-f]{12,64}", value):
        raise click.BadParameter("a digest is 64 hexadecimal digits, or its first 12: sha256sum network.yaml")
    return value


@click.command()
@click.option("--digest", required=True, metavar="DIGEST", callback=_digest, help="Of network.yaml, as sha256sum says it.")
@click.option("--all", "everybody", is_flag=True, help="Wait for every node of the cluster.")
@click.option("--node", "names", multiple=True, metavar="NAME", help="Wait for this node; repeatable.")
@click.option("--selector", "-l", default="", metavar="LABELS", help="With --all: only Nodes with these labels.")
@click.option("--timeout", default="10m", show_default=True, metavar="TIME", callback=_duration, help="How long: 90s, 10m, 1h.")
@server_option
@kubeconfig_option
def wait(digest: str, everybody: bool, names: Sequence[str], selector: str, timeout: float, server: Sequence[str], kubeconfig: str) -> int:
    """Wait until a network.yaml is in place on every node, and nothing is left to do there.

    Exit status: 0 it is; 1 the time is over, or a node had to undo it. For a pipeline, or an Argo CD PostSync hook.
    """
    if everybody == bool(names):
        raise click.UsageError("Say --all, or which nodes with --node NAME.")
    from reconciler.cluster.rollcall import Rollcall

    news = threading.Event()
    with api_of(server, kubeconfig) as api, closing(Rollcall(api, news.set, selector)) as call:
        return _Waiting(call, digest, frozenset(names)).until(time.monotonic() + timeout, news)


class _Waiting:
    """What is awaited of a cluster, and how far it is; told whenever it gets further."""

    def __init__(self, call: Rollcall, digest: str, names: frozenset[str]) -> None:
        self._call, self._digest, self._names = call, digest, names
        self._told = ""

    def until(self, end: float, news: threading.Event) -> int:
        """The exit status. `end`: of the monotonic clock."""
        while time.monotonic() < end:
            news.clear()
            asked = self._asked()
            if asked is not None:
                self._tell(asked)
                if asked and all(one.has(self._digest) for one in asked):
                    return 0
                undone = [one for one in asked if one.undid(self._digest)]
                if undone:
                    screen.errors(f"{one.node}: had to undo it: {one.why}" for one in undone[:SHOWN])
                    return 1
            news.wait(min(_LOOK, max(0.0, end - time.monotonic())))
        return self._over(self._asked())

    def _asked(self) -> list[Standing] | None:
        """Raises CannotGoOn for a node that there is not."""
        everybody = self._call.standings()
        if everybody is None or not self._names:
            return everybody
        unknown = self._names - {one.node for one in everybody}
        if unknown:
            raise CannotGoOn(f"{name} is no Node of this cluster: kubectl get nodes" for name in sorted(unknown))
        return [one for one in everybody if one.node in self._names]

    def _tell(self, asked: list[Standing]) -> None:
        done = sum(one.has(self._digest) for one in asked)
        line = f"{done} of {len(asked)} nodes have {self._digest[:12]}"
        if line != self._told:
            screen.write(line)
            self._told = line

    def _over(self, asked: list[Standing] | None) -> int:
        if asked is None:
            raise CannotGoOn([f"the API has not told in time how the nodes are: {self._call.trouble or 'no answer'}"])
        left = [one for one in asked if not one.has(self._digest)]
        if not asked:
            raise CannotGoOn(["there is no such Node: nothing to wait for"])
        screen.errors(f"{one.node}: {_why(one)}" for one in left[:SHOWN])
        if len(left) > SHOWN:
            screen.errors([f"and {len(left) - SHOWN} more nodes; plumbline status --all names them"])
        return 1


def _why(one: Standing) -> str:
    return one.why or f"has {one.digest[:12] or 'nothing'} in place"
