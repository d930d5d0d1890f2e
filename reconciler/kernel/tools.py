"""Runs the lines of a plan with the tools they name: in bulk where a tool reads batches. No shell.

Exit codes do not tell whether a batch ran to its end, so each batch ends with a
line whose output is the proof (the sentinel).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, groupby
from typing import NamedTuple, Protocol

from reconciler.engine.model import Action, Line, Ref, Verb
from reconciler.engine.reader import ObservationFailed, ToolMissing
from reconciler.engine.round import Failure
from reconciler.kernel import ovs, packed, proc_sys
from reconciler.kernel.netns import Identity, inside
from reconciler.kernel.processes import Processes, ToolFailed, ToolHung, ToolNotInstalled
from reconciler.kernel.writing import CannotWrite, Turn, alone

MANY = 64  # lines of one tool in a row; from here on those that can be packed are
WORKERS = max(2, min(8, os.cpu_count() or 2))  # namespaces in which tools run at once
_BLOCK = 4096  # bytes that a tool reads of its lines at once (stdio's buffer; it may be smaller)
_NFT_ERROR = re.compile(r"^/dev/stdin:(\d+):[\d-]+: (Error: .*)", re.MULTILINE)
_NFT_TRIES = 5  # each leaves out what the one before was refused for; nft tells of all such lines but for spelling mistakes at once
_FAILED = re.compile(r"^Command failed -:(\d+)", re.MULTILINE)
# What a batch may do at all, whatever a template says: `ip -batch` would run `netns exec` and `vrf exec`.
_OBJECTS = {
    "ip": frozenset({"link", "addr", "address", "neigh", "nexthop", "route", "rule"}),
    "bridge": frozenset({"fdb", "link", "vlan"}),
}
_SENTINEL = {"ip": ("link show dev lo", "lo: <"), "bridge": ("vlan show dev lo", "vlan-id")}


class Run(Protocol):
    """`run_tool` in one namespace."""

    def __call__(self, words: Sequence[str], *, stdin: str | None = None) -> subprocess.CompletedProcess[str]: ...


class _Inside(Protocol):
    """`inside` one namespace."""

    def __call__(self, call: Callable[[], list[Failure | None]]) -> list[Failure | None]: ...


class Command(NamedTuple):
    """One line of one action: the tool, and everything behind it as written."""

    action: int  # index of its action
    tool: str
    rest: str
    family: str = ""  # "-6": an option of `ip`, which a line inside a batch cannot have
    unit: int = -1  # lines of one number, none without those before it: the first may find that the name is somebody else's

    @property
    def words(self) -> list[str]:
        """The words as a shell would see them."""
        return [self.tool, *shlex.split(self.rest)]


class Runner(Protocol):
    """Runs commands of one tool, in order: why each is not done."""

    def __call__(self, run: Run, batch: Sequence[Command], /) -> list[Failure | None]: ...


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
        raise ObservationFailed(f"{' '.join(words)}: {_first_line(done.stderr) or f'exit status {done.returncode}'}")
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
            return _run_alone(actions, known, tool, {**_RUN, **runners})
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
        commands, key=lambda command: (command.tool, command.family, command.unit if command.tool in _OBJECTS else -1)
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
    if len(commands) < MANY or commands[0].tool not in _OBJECTS:
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


def _batch(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """`ip -batch` and `bridge -batch`: a refused line is named and the rest runs, but of a unit; a line that
    the tool cannot read ends it all, which the missing sentinel tells."""
    tool = batch[0].tool
    allowed = _OBJECTS[tool]
    for command in batch:
        if command.rest.split(" ", 1)[0] not in allowed:
            raise ToolFailed(f"{tool} {command.rest} is not a thing that a plan does")
    sentinel, proof = _SENTINEL[tool]
    text = "\n".join([*(command.rest for command in batch), sentinel, ""])
    family = [batch[0].family] if batch[0].family else []
    force = ["-force"] if batch[0].unit < 0 else []
    failures: list[Failure | None] = [None] * len(batch)
    try:
        done = run((tool, *family, *force, "-batch", "-"), stdin=text)
    except ToolHung as hung:
        return _hung(hung, batch, text) if force else [Failure(str(hung))] * len(batch)
    for number, message in _refused(done.stderr):
        if number <= len(batch):
            failures[number - 1] = Failure(message)
    if proof not in done.stdout:
        message = _first_line(done.stderr) or f"exit status {done.returncode}"
        ended = Failure(f"{tool} stopped before the end of its batch: {message}", ran=not force or len(batch) == 1)
        refused = next((failure for failure in failures if failure is not None), None)
        failures = [refused or ended] * len(batch) if not force else [failure or ended for failure in failures]
    return failures


def _hung(hung: ToolHung, batch: Sequence[Command], text: str) -> list[Failure | None]:
    """The lines up to the last that it had read: one of them, of the last block, is the one that hangs. It is tried by itself, should it
    hang again; so are, in the end, those before it, which are done and which the next look will find so."""
    if len(batch) == 1:
        return [Failure(f"{hung} at: {batch[0].tool} {batch[0].rest}")]
    sent = text.encode()
    first = 1 + sent.count(b"\n", 0, max(0, hung.read - _BLOCK))
    last = min(len(batch), max(first, sent.count(b"\n", 0, hung.read)))
    at = f"at one of the lines {first} to {last} of {len(batch)}: {batch[first - 1].tool} {batch[first - 1].rest} …"
    failures: list[Failure | None] = [Failure(f"{hung} {at}", ran=False)] * last
    failures += [Failure(f"not run: {hung} before it came to this line", ran=False)] * (len(batch) - last)
    for number, message in _refused(hung.stderr):
        if number <= len(batch):
            failures[number - 1] = Failure(message)
    return failures


def _refused(stderr: str) -> Iterable[tuple[int, str]]:
    """(line number, message) of every line that the kernel refused."""
    start = 0
    for match in _FAILED.finditer(stderr):
        message = " ".join(stderr[start : match.start()].split()) or "refused without a reason"
        yield int(match.group(1)), message
        start = stderr.find("\n", match.end()) + 1 or len(stderr)


def _nft(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """One transaction: all lines or none. What it is refused for is left out, and the rest tried again in one:
    a table that is made anew and the elements of its sets must never be seen apart."""
    failures: dict[int, Failure] = {}  # by action
    left = list(batch)
    for _ in range(_NFT_TRIES):
        done = run(("nft", "-f", "-"), stdin="".join(f"{_unquoted(command.rest)}\n" for command in left))
        if done.returncode == 0:
            break
        failures |= _blamed(left, done.stderr, f"exit status {done.returncode}")
        left = [command for command in left if command.action not in failures]
        if not left:
            break
    else:
        failures |= dict.fromkeys((command.action for command in left), Failure("nft refused the transaction for other lines", ran=False))
    return [failures.get(command.action) for command in batch]


def _blamed(batch: Sequence[Command], stderr: str, status: str) -> dict[int, Failure]:
    """The actions that nft names a line of, and those that are about a table which it refuses; all where it names none."""
    named = [(batch[int(match[1]) - 1], match[2]) for match in _NFT_ERROR.finditer(stderr) if int(match[1]) <= len(batch)]
    if not named:
        alone = batch[0].action == batch[-1].action
        return dict.fromkeys((command.action for command in batch), Failure(_first_line(stderr) or f"nft: {status}", ran=alone))
    failures: dict[int, Failure] = {}
    for command, message in named:
        failures.setdefault(command.action, Failure(message))
    tables = {_table(command) for command in batch if command.action in failures and command.rest.startswith("create table ")}
    for command in batch:
        if command.action not in failures and _table(command) in tables:
            failures[command.action] = Failure(f"skipped: table {' '.join(_table(command))} is refused")
    return failures


def _table(command: Command) -> tuple[str, ...]:
    """Family and name, which stand behind verb and object in all of our lines."""
    return tuple(command.rest.split(" ", 4)[2:4])


def _unquoted(rest: str) -> str:
    """A line as nft reads it from a file: without what is for a shell."""
    return rest.replace("'", "") if '"' not in rest else " ".join(shlex.split(rest))


def each(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """Tools without a batch mode that tells which line failed: a process for each line."""
    failures: list[Failure | None] = []
    for command in batch:
        try:
            done = run(command.words)
        except ToolFailed as failure:  # of this line: the others are tried
            failures.append(Failure(str(failure)))
            continue
        message = _first_line(done.stderr) or f"exit status {done.returncode}"
        failures.append(None if done.returncode == 0 else Failure(message))
    return failures


def _ovs(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """A transaction for each line, and ovs-vswitchd has taken it when it ends."""
    for command in batch:
        if not ovs.allowed(command.words):
            raise ToolFailed(f"{command.tool} {command.rest} is not a thing that a plan does")
    return each(run, batch)


def _sysctl(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """A process for each line, which writes elsewhere where /proc/sys is read-only."""
    folder = proc_sys.elsewhere()
    return each(partial(proc_sys.write, run, folder) if folder else run, batch)


_RUN: Mapping[str, Runner] = {"ip": _batch, "bridge": _batch, "nft": _nft, "ovs-vsctl": _ovs, "sysctl": _sysctl}


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
