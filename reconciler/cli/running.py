"""Verbs that speak to a running daemon: status, confirm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from reconciler.cli.options import api_of, kubeconfig_option, root_option, server_option, state_folder, state_option
from reconciler.cli.trouble import CannotGoOn
from reconciler.report import screen


@click.command()
@click.option("--url", default="http://127.0.0.1:9474", show_default=True, metavar="URL", help="Where the daemon listens (run --listen).")
@click.option("--all", "everybody", is_flag=True, help="Every node of the cluster, as the Kubernetes API knows them.")
@server_option
@kubeconfig_option
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For people, or as it is.")
def status(url: str, everybody: bool, server: Sequence[str], kubeconfig: str, output: str) -> int:
    """What the daemon on this node says of itself. Exit status 1 where it is not ready; with --all, where any node is not."""
    from reconciler.daemon.client import NoAnswer, fetch_status
    from reconciler.report.status import status_text

    if everybody:
        return _everybody(server, kubeconfig, output)
    try:
        said = fetch_status(url)
    except NoAnswer as error:
        raise CannotGoOn([str(error)]) from None
    screen.write(json.dumps(said, indent=2, ensure_ascii=False) if output == "json" else status_text(said))
    return 0 if said.get("ready") is True else 1


def _everybody(servers: Sequence[str], kubeconfig: str, output: str) -> int:
    from reconciler.cluster.rollcall import rollcall
    from reconciler.cluster.transport import Trouble
    from reconciler.report.status import standings_text

    with api_of(servers, kubeconfig) as api:
        try:
            found = rollcall(api)
        except Trouble as trouble:
            more = "; the CRD is in charts/plumbline/crds" if trouble.status == 404 else ""
            raise CannotGoOn([f"{trouble}{more}"]) from None
    screen.write(json.dumps([one._asdict() for one in found], indent=2, ensure_ascii=False) if output == "json" else standings_text(found))
    return 0 if all(one.ready for one in found) else 1


@click.command()
@click.argument("digest")
@state_option
@root_option
def confirm(digest: str, state: str | None, root: str) -> int:
    """Confirm what the daemon refused, by its digest: `plumbline status` shows what waits, and this very command."""
    from reconciler.daemon.state import BadState, in_use, leave_confirmation, read_waiting

    folder = state_folder(state, root)
    if _on_trial(folder, digest):
        return 0
    try:
        waiting = {one.digest: one for one in read_waiting(folder)}
        running = in_use(folder)
        if digest not in waiting:
            raise CannotGoOn(_unknown(digest, [f"{one.digest} ({one.what}: {one.reason})" for one in waiting.values()], folder))
        leave_confirmation(folder, digest)
    except FileNotFoundError:
        raise CannotGoOn(
            [f"{folder}: no daemon has ever kept anything here; say which folder it uses with --state (plumbline status shows it)"]
        ) from None
    except BadState as error:
        raise CannotGoOn([str(error)]) from None
    except OSError as error:
        raise CannotGoOn([f"{error.filename or folder}: {error.strerror}; the folder is the daemon's: use sudo"]) from None
    screen.write(f"confirmed: {waiting[digest].what} {digest[:12]}, {waiting[digest].reason}")
    screen.write(
        "the daemon acts on it now; plumbline status shows what came of it"
        if running
        else "no daemon runs with this folder: the next one that starts acts on it, if the same is still to be done then"
    )
    return 0


def _on_trial(folder: Path, digest: str) -> bool:
    """Whether the digest is of a change on trial, which stays then, or of one that was undone, which no daemon waits for."""
    from reconciler.confirm.journal import BadJournal, ConfirmFolder
    from reconciler.confirm.trials import FOLDER
    from reconciler.daemon.state import in_use

    trials = ConfirmFolder(folder / FOLDER)
    try:
        journal = trials.armed()
        if journal is not None and journal.digest == digest:
            if not trials.keep():
                raise CannotGoOn(["too late: the change is undone already"])
            screen.write("confirmed: the change stays")
            return True
        if not in_use(folder) and trials.lift(digest):
            screen.write("this network.yaml was undone before; it may be tried again now")
            return True
    except BadJournal as error:
        raise CannotGoOn([str(error)]) from None
    return False


def _unknown(digest: str, waiting: list[str], folder: Path) -> list[str]:
    if not waiting:
        return [f"nothing waits for confirmation in {folder}: it was confirmed before, or is not needed any more; see plumbline status"]
    return [
        f"{digest} is not what waits for confirmation in {folder}; a digest counts whole, and for one content or plan only",
        *(f"this waits: {one}" for one in waiting),
    ]
