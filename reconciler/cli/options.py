"""Options that several verbs share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.trouble import CannotGoOn

if TYPE_CHECKING:
    from reconciler.cluster.transport import Api

STATE = "/var/lib/plumbline"


def _digest(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value and not re.fullmatch("[0-9a-f]{64}", value):
        raise click.BadParameter("a digest is 64 hexadecimal digits, as the last line of `plumbline plan` shows it")
    return value


expect_option = click.option(
    "--expect", default="", metavar="DIGEST", callback=_digest, help="Run the plan that has this digest, and no other."
)
force_option = click.option(
    "--force", default="", metavar="DIGEST", callback=_digest, help="Confirm a plan that limits.maxDeletes refused."
)
file_argument = click.argument("file", type=click.Path())
facts_option = click.option(
    "--facts",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Kubernetes objects (Nodes, Pods, Services, EndpointSlices), as `kubectl get nodes -o yaml` prints them; repeatable.",
)
node_option = click.option("--node", metavar="NAME", help="Which node this is; else $NODE_NAME, else the host's name.")
root_option = click.option("--root", default="", metavar="DIR", help="Folder that stands for / in files (a lab's node).")
state_option = click.option(
    "--state", envvar="PLUMBLINE_STATE", metavar="DIR", help="What is kept for a restart; else $PLUMBLINE_STATE, else /var/lib/plumbline."
)
server_option = click.option(
    "--api-server", "server", multiple=True, envvar="PLUMBLINE_API_SERVERS", metavar="URL",
    help="Where the Kubernetes API is; repeatable; else cluster.apiServers, else what the pod's environment or the kubeconfig says.",
)  # fmt: skip
kubeconfig_option = click.option(
    "--kubeconfig", default="", envvar="KUBECONFIG", metavar="FILE", help="Who we are to the API; in a pod its service account."
)


def state_folder(said: str | None, root: str) -> Path:
    """Where is kept what is for a restart; in a lab below the folder that stands for /."""
    return Path(said) if said is not None else Path(f"{root}{STATE}")


@contextmanager
def api_of(servers: Sequence[str], kubeconfig: str) -> Iterator[Api]:
    """The Kubernetes API as `--api-server` and `--kubeconfig` say. Raises CannotGoOn."""
    from reconciler.cluster.access import NoAccess, find_access
    from reconciler.cluster.transport import Api

    try:
        api = Api(find_access(servers, kubeconfig))
    except NoAccess as error:
        raise CannotGoOn([str(error)]) from None
    try:
        yield api
    finally:
        api.close()
