"""Whose request it was: notifications carry the netlink port of the socket that asked, which is usually its process's id.

A process's first netlink socket gets its pid as port, further ones numbers that are no
pid (netlink(7), nl_pid); `/proc/net/netlink` names the socket's inode then. The pid is
that of the process's own pid namespace, so it is believed only of a process that
shares our network namespace.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_OURS = "/proc/thread-self/ns/net"


def requester(port: int) -> str:
    """ "bird (pid 812)"; empty when it cannot be told cheaply (it has ended, or has several sockets)."""
    try:
        if not Path(f"/proc/{port}/ns/net").samefile(_OURS):
            return ""
        comm = Path(f"/proc/{port}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""
    return f"{comm} (pid {port})"


def search(port: int) -> str:
    """The same by a search of all processes' descriptors; what can be said at least when it finds none."""
    inode = _inode(port)
    if not inode:
        return f"a process that has ended (netlink port {port})"
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if holds(f"/proc/{pid}/fd", wanted):
            with suppress(OSError):
                return f"{Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()} (pid {pid})"
    return f"a process that cannot be seen from here (netlink port {port})"


def _inode(port: int) -> str:
    """Of the NETLINK_ROUTE socket with this port, in this namespace. Columns: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode."""
    with suppress(OSError):
        for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
            words = line.split()
            if words[1] == "0" and words[2] == str(port):
                return words[-1]
    return ""


def holds(folder: str, wanted: str) -> bool:
    """Whether one of the descriptors in a process's folder is a link to this."""
    with suppress(OSError):
        for descriptor in os.listdir(folder):
            with suppress(OSError):
                if str(Path(folder, descriptor).readlink()) == wanted:
                    return True
    return False
