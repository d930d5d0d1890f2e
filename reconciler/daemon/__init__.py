"""The daemon: triggers → rounds → status, one at a time.

`starting.py` puts it together; `loop.py` turns, the only part with sockets of its own. What it decides is in
`schedule.py` (when), `controller.py` (with what content, and what came of it) and
`interest.py` (which of the kernel's events concern us); these have no clock and
no effects of their own. `link.py` is what it has to do with the Kubernetes API, where it has;
`cni_service.py`, with the other `cni*.py`, what the container runtime asks by the plugin in `cni/`.
"""

from __future__ import annotations

from reconciler.daemon.settings import Settings
from reconciler.daemon.starting import run

__all__ = ["Settings", "run"]
