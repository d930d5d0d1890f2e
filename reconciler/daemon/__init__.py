"""The daemon: triggers → rounds → status, one at a time.

`loop.py` is the only part with threads and sockets. What it decides is in
`schedule.py` (when), `controller.py` (with what content, and what came of it) and
`interest.py` (which of the kernel's events concern us); these have no clock and
no effects of their own.
"""

from __future__ import annotations

from reconciler.daemon.loop import run
from reconciler.daemon.settings import Settings

__all__ = ["Settings", "run"]
