"""Lines of `bpftool`, and what else touches a BPF file system: what a plan may do with them, and how.

Entries are written by bpf(2) in batches: they mean exactly what they mean to the tool
(tests/kernel/test_bpf_lines.py holds each against it). Everything else is the tool's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import reconciler
from reconciler.engine.round import Failure
from reconciler.kernel import bpf
from reconciler.kernel.bpf_maps import PinnedMaps
from reconciler.kernel.bpf_objects import unfit
from reconciler.kernel.tools import Command, Run, Runner, ToolFailed, each
from reconciler.kinds.bpf_folder.row import pin_path
from reconciler.wire.bpf import HOOKS

PACKAGE = str(Path(str(reconciler.__file__)).parent / "bpf")
_HEX = re.compile(r"[0-9a-f]{2}(?: [0-9a-f]{2})*")
_ENTRY = re.compile(r"map (update|delete) pinned (\S+) key hex ([0-9a-f ]+?)(?: value (hex|pinned) (\S+(?: [0-9a-f]{2})*))?")
_CREATE = re.compile(r"map create (\S+) type [a-z_]+ key \d+ value \d+ entries \d+ name \w{1,15}(?: flags \d+)?")
_LOAD = re.compile(r"prog loadall (\S+) (\S+)((?: map name \w+ pinned \S+)*)")
_CGROUP = re.compile(r"cgroup (?:attach (?P<to>\S+) (?P<at>\w+) pinned (?P<pin>\S+) multi|detach \S+ (?P<from>\w+) (?:pinned \S+|id \d+))")
_QDISC = re.compile(r"qdisc (add|del) dev (\S+) clsact")
_FILTER = re.compile(r"filter (?:(?:add|replace) (?P<at>.+) bpf(?: da)? pinned (?P<pin>\S+)|del (?P<from>.+) bpf)")
_FILTER_PLACE = re.compile(r"dev \S+ (?:ingress|egress) protocol all prio \d+ handle 0x[0-9a-f]+")
_PROGRAMS = re.compile(r"[a-z0-9]+-[0-9a-f]{12}")


class Entry(NamedTuple):
    """One entry to be written: without a value, to be removed; a text is where the program is pinned."""

    path: str
    key: bytes
    value: bytes | str | None


def runners(maps: PinnedMaps, objects: str) -> Mapping[str, Runner]:
    """By tool. maps: told of every entry that is written. objects: the only folder that programs are loaded from."""
    return {"bpftool": partial(_bpftool, maps, objects), "rm": _rm, "mkdir": _folders, "rmdir": _folders, "tc": _tc}


@lru_cache(maxsize=4096)
def ours(path: str) -> bool:
    """Whether a path is below a folder of ours."""
    try:
        return bool(pin_path(path))
    except ValueError:
        return False


def entry(rest: str) -> Entry | None:
    """The entry that a line (without its tool) writes; None for any other line."""
    match = _ENTRY.fullmatch(rest)
    if match is None:
        return None
    verb, path, key, what, value = match.groups()
    if (verb == "update") is not (what is not None) or not _HEX.fullmatch(key):
        return None
    if what != "hex":
        return Entry(path, bytes.fromhex(key), value)
    return Entry(path, bytes.fromhex(key), bytes.fromhex(value)) if _HEX.fullmatch(value) else None


def _bpftool(maps: PinnedMaps, objects: str, run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    failures: list[Failure | None] = []
    entries = [entry(command.rest) for command in batch]
    numbers = range(len(batch))
    for is_entry, group in groupby(numbers, key=lambda number: entries[number] is not None):
        if is_entry:
            failures += write(maps, [found for number in group if (found := entries[number]) is not None])
        else:
            failures += [_by_tool(objects, run, batch[number]) for number in group]
    return failures


def _by_tool(objects: str, run: Run, command: Command) -> Failure | None:
    why = refused(command.rest, objects)
    if why:
        return Failure(why)
    (done,) = each(run, [command])
    return done


def refused(rest: str, objects: str) -> str:
    """Why a line that writes no entry is not run; empty when it is."""
    if (match := _CREATE.fullmatch(rest)) and ours(match[1]):
        return ""
    if (match := _LOAD.fullmatch(rest)) and ours(match[2]):
        return unfit(match[1], match[2], match[3].split(), objects)
    if (match := _CGROUP.fullmatch(rest)) and (match["at"] or match["from"]) in HOOKS and (match["pin"] is None or ours(match["pin"])):
        return ""
    return f"bpftool {rest} is not a thing that a plan does"


def write(maps: PinnedMaps, entries: Sequence[Entry]) -> list[Failure | None]:
    """Write entries in order, those of one map that follow each other in one go; why each is not done, in the words of the tool."""
    failures: list[Failure | None] = []
    for (path, what), group in groupby(entries, key=lambda one: (one.path, type(one.value))):
        same = list(group)
        keys = [one.key for one in same]
        failures += _write(path, what, same) if ours(path) else [Failure(f"{path} is not below a folder of ours")] * len(same)
        maps.touched(path, keys)
    return failures


def _write(path: str, what: type, entries: Sequence[Entry]) -> Iterator[Failure | None]:
    try:
        with bpf.opened_map(path) as (descriptor, info):
            fit = [len(one.key) == info.key_size and (what is not bytes or len(one.value or b"") == info.value_size) for one in entries]
            if not all(fit):
                sizes = f"has keys of {info.key_size} bytes and values of {info.value_size}"
                yield from (Failure(f"Error: not run: {path} {sizes}") for _ in entries)
            elif what is str:
                yield from (_put(descriptor, one.key, str(one.value)) for one in entries)
            else:
                verb = "delete" if what is type(None) else "update"
                values = [one.value for one in entries if isinstance(one.value, bytes)]
                done = bpf.write(descriptor, [one.key for one in entries], values)
                yield from (Failure(f"Error: {verb} failed: {error.strerror}") if error else None for error in done)
    except OSError as error:
        yield from [Failure(f"Error: bpf obj get ({path}): {error.strerror}")] * len(entries)


def _put(descriptor: int, key: bytes, pin: str) -> Failure | None:
    try:
        with bpf.opened(pin) as program:
            value = struct.pack("=I", program)
            try:
                bpf.update_one(descriptor, key, value)
            except OSError as error:
                return Failure(f"Error: update failed: {error.strerror}")
    except OSError as error:
        return Failure(f"Error: bpf obj get ({pin}): {error.strerror}")
    return None


def _rm(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """Files one by one; of folders, those with programs of ours only."""
    for command in batch:
        flag, *paths = command.words[1:]
        folders = flag == "-r"
        if folders:
            paths = paths[1:]
        if folders and not all(ours(path) and _PROGRAMS.fullmatch(path.rpartition("/")[2]) for path in paths):
            raise ToolFailed(f"rm {command.rest} is not a thing that a plan does")
    return each(run, batch)


def _folders(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    for command in batch:
        if not all(ours(path) for path in command.words[2:]):
            raise ToolFailed(f"{command.tool} {command.rest} is not a thing that a plan does")
    return each(run, batch)


def _tc(run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    """One by one; a clsact that still has a filter stays, whatever the plan was made of."""
    failures: list[Failure | None] = []
    for command in batch:
        qdisc = _QDISC.fullmatch(command.rest)
        if not qdisc and not _is_filter(command.rest):
            raise ToolFailed(f"tc {command.rest} is not a thing that a plan does")
        if qdisc and qdisc[1] == "del" and _filters_left(run, qdisc[2]):
            failures.append(Failure(f"{qdisc[2]} has a filter of somebody's by now: its clsact stays"))
        else:
            failures += each(run, [command])
    return failures


def _is_filter(rest: str) -> bool:
    match = _FILTER.fullmatch(rest)
    return match is not None and bool(_FILTER_PLACE.fullmatch(match["at"] or match["from"])) and (not match["pin"] or ours(match["pin"]))


def _filters_left(run: Run, dev: str) -> bool:
    looks = [run(("tc", "filter", "show", "dev", dev, direction)) for direction in ("ingress", "egress")]
    return any(look.returncode != 0 or look.stdout.strip() for look in looks)
