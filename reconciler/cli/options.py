"""Options that several verbs share."""

from __future__ import annotations

import click

file_argument = click.argument("file", type=click.Path())
facts_option = click.option(
    "--facts",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Kubernetes Nodes, as `kubectl get nodes -o yaml` prints them; repeatable.",
)
node_option = click.option("--node", metavar="NAME", help="Which node this is; else $NODE_NAME, else the host's name.")
root_option = click.option("--root", default="", metavar="DIR", help="Folder that stands for / in files (a lab's node).")
