"""Which programs run on this host, as far as /proc shows them (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Running(NamedTuple):
    """Whether a program runs, and how that shows."""

    yes: bool
    evidence: str


def running(root: str, comm: str, trace: str) -> Running:
    """Whether a program runs: by a process, else by the file that it leaves in /run.

    In a container /proc shows the container's own processes only; then the file speaks
    alone. Where all of the host is seen, a file without a process is of an earlier run.

    comm: at most 15 bytes, as the kernel keeps it.
    """
    pid = next((pid for pid, name in commands(root) if name == comm), None)
    if pid is not None:
        return Running(True, f"process {pid}")
    if Path(root + trace).exists() and not whole_host(root):
        return Running(True, trace)
    return Running(False, "")


def commands(root: str) -> Iterator[tuple[int, str]]:
    """Process id and name of each process that is seen."""
    folder = Path(f"{root}/proc")
    for one in folder.iterdir() if folder.is_dir() else ():
        if one.name.isdigit():
            with suppress(OSError):  # ended meanwhile
                yield int(one.name), (one / "comm").read_text().strip()


def whole_host(root: str) -> bool:
    """Whether /proc shows the processes of the host: its second one is the father of the kernel's threads."""
    with suppress(OSError):
        return Path(f"{root}/proc/2/comm").read_text().strip() == "kthreadd"
    return False


class Holders(NamedTuple):
    """Processes that hold a socket, "dnsmasq (process 812)"; `all_seen` False where there may be others."""

    names: list[str]
    all_seen: bool


def holders(root: str, inode: str) -> Holders:
    """Who has a socket open."""
    wanted, all_seen = f"socket:[{inode}]", whole_host(root)
    names = []
    for pid, name in commands(root):
        try:
            if wanted in _open_files(f"{root}/proc/{pid}/fd"):
                names.append(f"{name} (process {pid})")
        except PermissionError:
            all_seen = False
    return Holders(names, all_seen)


def _open_files(folder: str) -> list[str]:
    """Raises PermissionError."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError, ProcessLookupError):  # it ended meanwhile
        for name in os.listdir(folder):
            with suppress(FileNotFoundError, ProcessLookupError):  # closed meanwhile
                found.append(str(Path(f"{folder}/{name}").readlink()))
    return found
