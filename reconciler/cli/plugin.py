"""Verb `install-cni`: the CNI plugin onto the host, by an init container or by hand."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.trouble import CannotGoOn
from reconciler.report import screen


@click.command("install-cni")
@click.option("--bin-dir", default="/opt/cni/bin", show_default=True, metavar="DIR", help="Where the container runtime looks for plugins.")
@click.option("--remove", is_flag=True, help="Take it away; network.yaml must not say `chained: true` any more.")
def install_cni(bin_dir: str, remove: bool) -> int:
    """Put the CNI plugin plumbline into DIR, in the place of an older one; a file of somebody else's stays."""
    from reconciler.daemon.cni.install import NotOurs, NotThere, install, uninstall

    folder = Path(bin_dir)
    try:
        done = uninstall(folder) if remove else install(folder)
    except (NotOurs, NotThere) as error:
        raise CannotGoOn([str(error)]) from None
    except OSError as error:
        raise CannotGoOn([f"{error.filename or folder}: {error.strerror}; in a container, mount the host's folder writable"]) from None
    screen.write(done)
    return 0
