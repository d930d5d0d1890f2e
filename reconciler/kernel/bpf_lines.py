"""Lines of `bpftool`, and what else touches a BPF file system: what a plan may do with them, and how.

Entries are written by bpf(2) in batches: they mean exactly what they mean to the tool
(tests/kernel/test_bpf_lines.py holds each against it). Everything else is the tool's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import reconciler
from reconciler.engine.round import Failure
from reconciler.kernel import bpf
from reconciler.kernel.bpf_maps import PinnedMaps
from reconciler.kernel.bpf_objects import unfit
from reconciler.kernel.processes import ToolFailed
from reconciler.kernel.runners import Command, Run, Runner, each
from reconciler.kinds.bpf_folder.row import pin_path
from reconciler.wire.bpf import HOOKS, MapInfo

PACKAGE = str(Path(str(reconciler.__file__)).parent / "bpf")
_KEY, _VALUE, _PINNED = " key hex ", " value hex ", " value pinned "
_ENTRY = re.compile(r"map (update|delete) pinned (\S+)")
_CREATE = re.compile(r"map create (\S+) type [a-z_]+ key \d+ value \d+ entries \d+ name \w{1,15}(?: flags \d+)?")
_LOAD = re.compile(r"prog loadall (\S+) (\S+)((?: map name \w+ pinned \S+)*)")
_CGROUP = re.compile(r"cgroup (?:attach (?P<to>\S+) (?P<at>\w+) pinned (?P<pin>\S+) multi|detach \S+ (?P<from>\w+) (?:pinned \S+|id \d+))")
_QDISC = re.compile(r"qdisc (add|del) dev (\S+) clsact")
_FILTER = re.compile(r"filter (?:(?:add|replace) (?P<at>.+) bpf(?: da)? pinned (?P<pin>\S+)|del (?P<from>.+) bpf)")
_FILTER_PLACE = re.compile(r"dev \S+ (?:ingress|egress) protocol all prio \d+ handle 0x[0-9a-f]+")
_PROGRAMS = re.compile(r"[a-z0-9]+-[0-9a-f]{12}")


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


class Entries(NamedTuple):
    """What consecutive lines write to one map: keys, and values where they have some, end to end; or programs, by where they are pinned."""

    path: str
    written: bpf.Written
    pins: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def _place(head: str) -> tuple[str, str] | None:
    """Verb and path of a line about an entry, by what stands before its key."""
    match = _ENTRY.fullmatch(head)
    return (match[1], match[2]) if match else None


def _head(rest: str) -> str:
    return rest.partition(_KEY)[0]


def entries(lines: Sequence[str]) -> Entries | None:
    """What lines (without their tool) of one head write; None where these are not all lines of one shape."""
    head, found, first = lines[0].partition(_KEY)
    place = _place(head) if found else None
    if place is None:
        return None
    verb, path = place
    count, words = len(lines), [line[len(head) + len(_KEY) :] for line in lines]
    if verb == "delete":
        keys = _octets(words)
        return None if keys is None else Entries(path, bpf.Written(count, keys, b""))
    for what in (_VALUE, _PINNED):
        size = first.find(what)
        if size >= 0 and all(one.startswith(what, size) for one in words):
            keys, right = _octets([one[:size] for one in words]), [one[size + len(what) :] for one in words]
            if keys is not None and what == _PINNED and not any(" " in one for one in right):
                return Entries(path, bpf.Written(count, keys, b""), tuple(right))
            values = _octets(right) if what == _VALUE else None
            return None if keys is None or values is None else Entries(path, bpf.Written(count, keys, values))
    return None


def _octets(words: Sequence[str]) -> bytes | None:
    """Texts of one length, each bytes in hexadecimal digits with one blank between as the tool reads them, as bytes end to end."""
    whole = " ".join(words)
    try:
        found = bytes.fromhex(whole)
    except ValueError:
        return None
    exact = found and whole[2::3] == " " * (len(found) - 1) and len(whole) == 3 * len(found) - 1
    return found if exact and len(set(map(len, words))) == 1 else None


def _bpftool(maps: PinnedMaps, objects: str, run: Run, batch: Sequence[Command]) -> list[Failure | None]:
    failures: list[Failure | None] = []
    for _, group in groupby(batch, key=lambda command: _head(command.rest)):
        same = list(group)
        together = entries([command.rest for command in same])
        if together is not None:
            failures += write(maps, together)
            continue
        for command in same:
            alone = entries([command.rest])
            failures += write(maps, alone) if alone is not None else [_by_tool(objects, run, command)]
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


def write(maps: PinnedMaps, entries: Entries) -> list[Failure | None]:
    """Write entries, in order; why each is not done, in the words of the tool."""
    path, written, _ = entries
    if not ours(path):
        return [Failure(f"{path} is not below a folder of ours")] * written.number
    try:
        with bpf.opened_map(path) as (descriptor, info):
            return _write(descriptor, info, entries)
    except OSError as error:
        return [Failure(f"Error: bpf obj get ({path}): {error.strerror}")] * written.number
    finally:
        maps.touched(path, written.number, written.keys)


def _write(descriptor: int, info: MapInfo, entries: Entries) -> list[Failure | None]:
    path, (count, keys, values), pins = entries
    if len(keys) != count * info.key_size or (values and len(values) != count * info.value_size):
        sizes = f"has keys of {info.key_size} bytes and values of {info.value_size}"
        return [Failure(f"Error: not run: {path} {sizes}")] * count
    if pins:
        return [_put(descriptor, keys[number * info.key_size :][: info.key_size], pin) for number, pin in enumerate(pins)]
    failures: list[Failure | None] = [None] * count
    for number, error in bpf.write(descriptor, info, entries.written).items():
        failures[number] = Failure(f"Error: {'update' if values else 'delete'} failed: {error.strerror}")
    return failures


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
