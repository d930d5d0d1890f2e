"""Waiting for something to be so, never for time to pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from reconciler.lab.topology import LabError

EVERY = 0.005  # seconds between two looks


def until(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> float:
    """Wait until something is so; how many seconds it took. Raises LabError with what `otherwise` says after `seconds`."""
    pause = threading.Event()
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise LabError(f"{otherwise()} (waited {seconds:.0f} s)")
        pause.wait(EVERY)
    return time.monotonic() - began
