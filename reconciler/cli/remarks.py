"""What the intents leave undone, told: mistakes as errors, the rest as warnings."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.intents import Remark
from reconciler.report import screen


def tell(remarks: Iterable[Remark]) -> int:
    """Each once, in order of their words; how many were mistakes."""
    found = sorted(set(remarks), key=str)
    mistakes = [str(remark) for remark in found if remark.error]
    screen.errors(mistakes)
    screen.errors((str(remark) for remark in found if not remark.error), "warning")
    return len(mistakes)
