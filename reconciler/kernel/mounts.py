"""Whose mount a folder is in: the host's, or one that this container alone has and that goes with it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

OURS, INIT = "/proc/self", "/proc/1"
_HOSTS_PIDS = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h: the number of the first namespace of processes


def goes_with_us(path: str) -> bool:
    """Whether the mount that holds a folder is known to be nobody's but this container's. False where that cannot be told.

    It can where process 1 is the host's: in a pod with the host's processes, and where there is no pod at all.
    """
    try:
        device = os.stat(path).st_dev
        if os.stat(f"{OURS}/ns/pid").st_ino != _HOSTS_PIDS:
            return False
    except OSError:
        return False
    return _missing(device)


@lru_cache(maxsize=8)
def _missing(device: int) -> bool:
    """A host may have thousands of mounts: the same file system is looked for once."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path(f"{INIT}/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return bool(lines) and not any(line.split(" ", 3)[2] == number for line in lines)
