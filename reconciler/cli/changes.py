"""Verbs that change the node: apply, cleanup."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.inputs import compiled, not_this_host, on_this_host, read_inputs, this_node
from reconciler.cli.options import (
    expect_option,
    facts_option,
    file_argument,
    force_option,
    node_option,
    root_option,
    state_folder,
    state_option,
)
from reconciler.cli.plans import REFUSED
from reconciler.cli.remarks import tell
from reconciler.cli.trials import decided, trial_of
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.guard import Limits
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round, nothing_first
from reconciler.report import screen

if TYPE_CHECKING:  # what a verb does not need is not imported
    from reconciler.confirm.commit import Trial
    from reconciler.kernel.node import KernelNode

CAP_NET_ADMIN = 12  # include/uapi/linux/capability.h
OLDEST_IPROUTE2 = (5, 3)  # `ip nexthop`; Debian 11 and newer have it


def need_rights() -> None:
    """Raises CannotGoOn where this process may not change the network."""
    capabilities = next((line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")), "0")
    if not int(capabilities, 16) >> CAP_NET_ADMIN & 1:
        raise CannotGoOn(["this needs CAP_NET_ADMIN to change the network: run it with sudo, or as root; `plumbline plan` needs no rights"])


def need_tools() -> None:
    """Raises CannotGoOn where iproute2 is missing or too old, before anything is changed half."""
    missing = [tool for tool in ("ip", "bridge") if shutil.which(tool) is None]
    if missing:
        raise CannotGoOn([f"{' and '.join(missing)} not found; install iproute2 (Debian, Ubuntu: apt-get install iproute2)"])
    said = subprocess.run(["ip", "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"iproute2-(?:ss)?(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < OLDEST_IPROUTE2:
        raise CannotGoOn(
            [f"{said.strip()} is too old: plumbline needs iproute2 {OLDEST_IPROUTE2[0]}.{OLDEST_IPROUTE2[1]} or newer (ip nexthop)"]
        )


def need_quiet() -> None:
    """Raises CannotGoOn where others run lines here and do not end. What a killed plumbline has left running is ended."""
    from reconciler.kernel.writing import CannotWrite, wait_for_others

    try:
        wait_for_others()
    except CannotWrite as others:
        raise CannotGoOn([str(others)]) from None


@click.command()
@file_argument
@node_option
@facts_option
@expect_option
@force_option
@root_option
@click.option("--confirm", "person", type=click.FloatRange(5, 3600), default=None, metavar="SECONDS",
              help="Undo it all unless you confirm it within this time; else what answers before has to answer after.")  # fmt: skip
@state_option
def apply(
    file: str, node: str | None, facts: Sequence[str], expect: str, force: str, root: str, person: float | None, state: str | None
) -> int:
    """Converge this node once: plan, run, look again, until the plan is empty.

    A plan that can cut the node off (its uplink, the addresses there, a default route) is undone by itself unless it is confirmed.
    """
    inputs = read_inputs(file, facts)
    need_rights()
    need_tools()
    need_quiet()
    name = this_node(inputs, node)
    inputs = on_this_host(inputs, name, root)
    found = compiled(inputs, name)
    screen.errors((str(warning) for warning in inputs.warnings), "warning")
    tell(found.remarks)
    if elsewhere := not_this_host(inputs, name):
        screen.errors([elsewhere], "warning")

    def scope(io: KernelNode) -> Scope:
        return inputs.scope(io, name, found.wanted, root)

    trial = trial_of(inputs, name, root, state_folder(state, root), person)
    return _converge(name, inputs.title, scope, inputs.limits, expect=expect, confirmed=force, trial=trial)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@root_option
def cleanup(yes: bool, root: str) -> int:
    """Remove all that plumbline made on this node, known by its marks in the kernel, and nothing else."""
    from reconciler.kernel.lock import AlreadyRunning, NamespaceLock
    from reconciler.kernel.pods import finder, node_scope

    need_rights()
    need_tools()
    need_quiet()
    try:
        lock = NamespaceLock()  # of a daemon's place: none starts meanwhile
    except AlreadyRunning as running:
        raise CannotGoOn([f"a daemon would put back what is removed: {running}"]) from None
    with closing(lock):
        return _cleaned(yes, lambda io: node_scope(io, finder(), (), Wanted(), root))


def _cleaned(yes: bool, scope: _Look) -> int:
    from reconciler.kernel.node import KernelNode
    from reconciler.kinds import all_kinds

    if not yes:
        io = KernelNode()
        try:
            plan, _ = Round(io, all_kinds(), limits=Limits(1.0, 1 << 30), name="cleanup").plan(scope(io))
        finally:
            io.close()
        screen.show_plan(plan, "cleanup")
        if not plan.empty and not sys.stdin.isatty():
            raise CannotGoOn(["nobody is here to confirm this: say --yes"])
        if not plan.empty and not click.confirm("Remove all of this?"):
            return 1
    return _converge("cleanup", "this node", scope, Limits(1.0, 1 << 30))


_Look = Callable[["KernelNode"], Scope]  # what to look at is asked of the node too


def _converge(
    name: str, title: str, scope: _Look, limits: Limits, *, expect: str = "", confirmed: str = "", trial: Trial | None = None
) -> int:
    from reconciler.kernel.node import KernelNode
    from reconciler.kinds import all_kinds

    io = KernelNode()
    before = trial.before if trial else nothing_first
    try:
        with screen.progress(f"{name} ") as step:
            engine = Round(io, all_kinds(), limits=limits, name=name)
            result = engine.converge(scope(io), expect=expect, confirmed=confirmed, progress=step, before=before)
    finally:
        io.close()
    if expect and result.first.digest != expect:
        screen.show_plan(result.first, title)
        screen.errors(result.errors)
        return REFUSED
    status = _told(name, title, result)
    return decided(name, trial) or status if trial and trial.armed else status


def _told(name: str, title: str, result: Result) -> int:
    if result.last.refusal is not None or (result.errors and not result.outcomes and result.last.conflicts):
        screen.show_plan(result.last, title)
    screen.errors(result.errors)
    done = sum(outcome.failure is None for outcome in result.outcomes)
    if result.converged and not result.errors:
        screen.write(f"{name}: {'converged, ' + str(done) + ' changes' if done else 'nothing to do'}")
        return 0
    if result.last.refusal is not None:
        screen.write(f"confirm this very plan with: --force {result.last.digest}")
    left = len(result.last.actions)
    screen.write(f"{name}: {done} changes done, {left} left")
    return REFUSED if result.last.refusal is not None or result.last.conflicts else 1
