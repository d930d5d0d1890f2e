"""How each tool runs many lines: in a batch, in a transaction, or one by one; and what its words about a failure mean.

Exit codes do not tell whether a batch ran to its end, so each batch ends with a
line whose output is the proof (the sentinel).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from reconciler.engine.round import Failure
from reconciler.kernel import ovs, proc_sys
from reconciler.kernel.processes import ToolFailed, ToolHung

_BLOCK = 4096  # bytes that a tool reads of its lines at once (stdio's buffer; it may be smaller)
_NFT_ERROR = re.compile(r"^/dev/stdin:(\d+):[\d-]+: (Error: .*)", re.MULTILINE)
_NFT_TRIES = 5  # each leaves out what the one before was refused for; nft tells of all such lines but for spelling mistakes at once
_FAILED = re.compile(r"^Command failed -:(\d+)", re.MULTILINE)
# What a batch may do at all, whatever a template says: `ip -batch` would run `netns exec` and `vrf exec`.
OBJECTS = {
    "ip": frozenset({"link", "addr", "address", "neigh", "nexthop", "route", "rule"}),
    "bridge": frozenset({"fdb", "link", "vlan"}),
}
_SENTINEL = {"ip": ("link show dev lo", "lo: <"), "bridge": ("vlan show dev lo", "vlan-id")}


class Run(Protocol):
    """`run_tool` in one namespace."""

    def __call__(self, words: Sequence[str], *, stdin: str | None = None) -> subprocess.CompletedProcess[str]: ...


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


def _batch(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """`ip -batch` and `bridge -batch`: a refused line is named and the rest runs, but of a unit; a line that
    the tool cannot read ends it all, which the missing sentinel tells."""
    tool = batch[0].tool
    allowed = OBJECTS[tool]
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
        message = first_line(done.stderr) or f"exit status {done.returncode}"
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
        return dict.fromkeys((command.action for command in batch), Failure(first_line(stderr) or f"nft: {status}", ran=alone))
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
        message = first_line(done.stderr) or f"exit status {done.returncode}"
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


# Of each tool that has a way of its own; all others run `each` line by itself.
RUNNERS: Mapping[str, Runner] = {"ip": _batch, "bridge": _batch, "nft": _nft, "ovs-vsctl": _ovs, "sysctl": _sysctl}


def first_line(text: str) -> str:
    """That says something; empty where none does."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
