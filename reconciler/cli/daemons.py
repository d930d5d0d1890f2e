"""The verb that stays: run."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import click

from reconciler.cli.changes import need_rights, need_tools
from reconciler.cli.inputs import existing
from reconciler.cli.options import facts_option, kubeconfig_option, node_option, root_option, server_option, state_folder, state_option


def _configmap(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value and (value.count("/") != 1 or not all(value.split("/"))):
        raise click.BadParameter("write NAMESPACE/NAME")
    return value


@click.command()
@click.option("--config", default="", metavar="PATH", help="network.yaml, or the folder of the mounted ConfigMap.")
@click.option(
    "--configmap", default="", envvar="PLUMBLINE_CONFIGMAP", metavar="NAMESPACE/NAME", callback=_configmap,
    help="network.yaml by watch, within a second; until the API answers, --config holds where it is said.",
)  # fmt: skip
@click.option(
    "--cluster", is_flag=True, help="Watch the Kubernetes API: its Nodes, Pods and Services are facts, and it is told how this node is."
)
@server_option
@kubeconfig_option
@node_option
@facts_option
@click.option("--dry-run", is_flag=True, help="Report what differs, change nothing.")
@root_option
@click.option("--listen", default="127.0.0.1:9474", show_default=True, help="HOST:PORT of /healthz, /readyz, /metrics, /status; or off.")
@click.option("--resync", type=float, help="Seconds between rounds that nothing asked for; 60, or as many as keep them cheap.")
@state_option
@click.option("--verbose", is_flag=True, help="Log rounds that changed nothing too.")
def run(
    config: str,
    configmap: str,
    cluster: bool,
    server: Sequence[str],
    kubeconfig: str,
    node: str | None,
    facts: Sequence[str],
    dry_run: bool,
    root: str,
    listen: str,
    resync: float | None,
    state: str | None,
    verbose: bool,
) -> int:
    """The daemon: keep this node true to network.yaml."""
    from reconciler.daemon import Settings
    from reconciler.daemon import run as run_daemon
    from reconciler.daemon.state import LAST_GOOD

    if not config and not configmap:
        raise click.UsageError("Say where network.yaml is: --config PATH, or --configmap NAMESPACE/NAME.")
    if not dry_run:
        need_rights()
        need_tools()
    name = node or os.environ.get("NODE_NAME") or socket.gethostname()
    folder = state_folder(state, root)
    if not (folder / LAST_GOOD).exists():  # else the node gets its network of what was kept, and what is missing is told
        for path in (*((config,) if config and not configmap else ()), *facts):
            existing(path)
    settings = Settings(
        Path(config) if config else None, name, tuple(map(Path, facts)), dry_run, root, listen, resync, state=folder, verbose=verbose,
        cluster=cluster, configmap=configmap, servers=tuple(server), kubeconfig=kubeconfig,
    )  # fmt: skip
    return run_daemon(settings)
