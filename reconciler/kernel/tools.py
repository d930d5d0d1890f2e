"""Runs the lines of a plan with the tools they name, in order and in as few processes as they allow. No shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, groupby
from typing import Protocol

from reconciler.engine.model import Action, Line, Ref, Verb
from reconciler.engine.reader import ObservationFailed, ToolMissing
from reconciler.engine.round import Failure
from reconciler.kernel import packed
from reconciler.kernel.netns import Identity, inside
from reconciler.kernel.processes import Processes, ToolFailed, ToolNotInstalled
from reconciler.kernel.runners import OBJECTS, RUNNERS, Command, Run, Runner, each, first_line
from reconciler.kernel.writing import CannotWrite, Turn, alone

MANY = 64  # lines of one tool in a row; from here on those that can be packed are
WORKERS = max(2, min(8, os.cpu_count() or 2))  # namespaces in which tools run at once


class _Inside(Protocol):
    """`inside` one namespace."""

    def __call__(self, call: Callable[[], list[Failure | None]]) -> list[Failure | None]: ...


def run_tool(
    netns: str,
    words: Sequence[str],
    *,
    stdin: str | None = None,
    known: Identity | None = None,
    processes: Processes | None = None,
    keep: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run one tool with its words, started by a thread inside the namespace: it needs no process of its own to get there.

    known: only if the namespace is this one. processes: by whom it is run, and how long it may take.
    keep: descriptors that it inherits. Raises ToolFailed when it cannot be run to an end.
    """
    if shutil.which(words[0]) is None:
        raise ToolNotInstalled(f"{words[0]} is not installed; it comes with {_PACKAGE.get(words[0], words[0])}")
    started = processes or Processes()
    try:
        return inside(netns, lambda: started.run(words, stdin, keep), known)
    except ObservationFailed as failure:
        raise ToolFailed(str(failure)) from failure


_PACKAGE = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
    "mv": "coreutils",
    "rm": "coreutils",
    "mkdir": "coreutils",
    "rmdir": "coreutils",
    "bpftool": "bpftool",
    "wg": "wireguard-tools",
    "ovs-vsctl": "openvswitch-switch",
}


def read_tool(netns: str, words: Sequence[str], known: Identity | None = None, processes: Processes | None = None) -> str:
    """What a read-only command prints. Raises ObservationFailed when it fails in any way."""
    try:
        done = run_tool(netns, words, known=known, processes=processes)
    except ToolNotInstalled as missing:
        raise ToolMissing(str(missing)) from missing
    except ToolFailed as failure:
        raise ObservationFailed(str(failure)) from failure
    if done.returncode != 0:
        raise ObservationFailed(f"{' '.join(words)}: {first_line(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout


def run_actions(
    actions: Sequence[Action],
    known: Callable[[str], Identity | None] = lambda netns: None,
    processes: Processes | None = None,
    runners: Mapping[str, Runner] = {},
    turn: Turn = alone,
) -> list[Failure | None]:
    """Run the lines of the actions; see `reconciler.engine.round.Executor`. In order inside each namespace, several of these at once.

    known: the namespaces that stood under these names when they were observed; others are not touched.
    processes: by whom tools are run. runners: of tools that this node has its own way with.
    turn: how to see to it that nobody else runs lines in the namespace of this thread meanwhile, and later only once the last of
    these tools has ended.
    """
    started = processes or Processes()
    try:
        with turn(lambda: started.ending) as keep:
            tool = partial(run_tool, processes=started, keep=keep)
            return _run_alone(actions, known, tool, {**RUNNERS, **runners})
    except CannotWrite as others:
        return [Failure(str(others))] * len(actions)


def _run_alone(
    actions: Sequence[Action],
    known: Callable[[str], Identity | None],
    tool: Callable[..., subprocess.CompletedProcess[str]],
    runners: Mapping[str, Runner],
) -> list[Failure | None]:
    failures: list[Failure | None] = [None] * len(actions)
    places: dict[str, list[Command]] = {}
    for index, action in enumerate(actions):
        unit = index if action.verb is Verb.CREATE and len(action.lines) > 1 else -1
        for line in action.lines:
            places.setdefault(line.netns, []).append(_command(index, line, unit))

    def work(netns: str) -> list[tuple[Command, Failure | None]]:
        run, space = partial(tool, netns, known=known(netns)), partial(inside, netns, known=known(netns))
        return _in_order(run, space, places[netns], actions, runners)

    if len(places) > 1:
        with ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="tools") as pool:
            done = list(pool.map(work, places))
    else:
        done = [work(netns) for netns in places]
    for command, failure in chain.from_iterable(done):
        if failure is not None and failures[command.action] is None:
            failures[command.action] = failure
    return failures


def _in_order(
    run: Run, space: _Inside, commands: Sequence[Command], actions: Sequence[Action], runners: Mapping[str, Runner]
) -> list[tuple[Command, Failure | None]]:
    """The commands of one namespace, in as few processes as their tools allow.

    A unit that needs one that failed does not run: the other end of a veth pair, say, is then somebody else's.
    """
    done: list[tuple[Command, Failure | None]] = []
    failed: set[Ref] = set()
    for (tool, _, _), group in groupby(
        commands, key=lambda command: (command.tool, command.family, command.unit if command.tool in OBJECTS else -1)
    ):
        for batch in _cut(list(group)):
            unit = actions[batch[0].unit] if batch[0].unit >= 0 else None
            try:
                missing = next((need for need in unit.needs if need in failed), None) if unit else None
                if missing is not None:
                    raise ToolFailed(f"skipped: needs {missing}, which failed")
                if len(batch) >= MANY and (matches := _matches(batch)):
                    found = space(partial(packed.send, matches))
                else:
                    found = runners.get(tool, each)(run, batch)
            except (ToolFailed, ObservationFailed) as failure:
                found = [Failure(str(failure))] * len(batch)
            if unit and any(found):
                failed.add(unit.ref)
            done += zip(batch, found, strict=True)
    return done


def _cut(commands: list[Command]) -> Iterable[list[Command]]:
    """Many lines of one tool, cut by the object that they are about; few stay together, and so does what is one transaction."""
    if len(commands) < MANY or commands[0].tool not in OBJECTS:
        return [commands]
    return [list(group) for _, group in groupby(commands, key=lambda command: command.rest.partition(" ")[0])]


def _matches(batch: Sequence[Command]) -> list[packed.Match]:
    """The lines as they can be packed; none where one cannot."""
    matches: list[packed.Match] = []
    for command in batch:
        match = None if command.family else packed.match(command.tool, command.rest)
        if match is None:
            return []
        matches.append(match)
    return matches


def _command(action: int, line: Line, unit: int) -> Command:
    tool, _, rest = line.words.partition(" ")
    if tool == "ip" and rest.startswith(("-6 ", "-4 ")):
        return Command(action, tool, rest[3:], rest[:2], unit)
    return Command(action, tool, rest, "", unit)
