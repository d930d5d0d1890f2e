"""What this kernel can do, tried in a network namespace that nobody else sees and that is gone afterwards.

Nothing of the node changes, except that the kernel may load the module of what is tried, as `apply` would make it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.netns import CLONE_NEWNET

Commands = Sequence[Sequence[str]]
WITHIN = 10  # seconds for one command

_libc = ctypes.CDLL(None, use_errno=True)


def tried(trials: Mapping[str, Commands]) -> dict[str, str]:
    """For each trial the first thing that a tool complained of; empty where all its commands did what they should.

    Each trial has a namespace of its own. Raises ObservationFailed where none can be made.
    """
    found = {}
    for name, commands in trials.items():
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="trial") as pool:  # the namespace ends with its thread
            found[name] = pool.submit(_complaint, commands).result()
    return found


def _complaint(commands: Commands) -> str:
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise ObservationFailed(f"no namespace to try it in: {os.strerror(ctypes.get_errno())}; run as root")
    for words in commands:
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=WITHIN)
        except FileNotFoundError:
            return f"{words[0]} not found"
        except subprocess.TimeoutExpired:
            return f"{' '.join(words)}: no answer within {WITHIN} s"
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
    return ""
