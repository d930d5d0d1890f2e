"""What a watch tells. (By itself, so that whoever only speaks of it need not load what talks to an API.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
Report = Callable[[str, str], None]  # a watch's name, and why it does not go on ("": it does again)


class Known(NamedTuple, Generic[T]):
    """What is known of one sort. `values`: None where the API never answered."""

    name: str
    values: tuple[T, ...] | None
    faults: tuple[str, ...] = ()  # objects that could not be read; those that once could are as they were then
    trouble: str = ""  # why nothing new is heard
    since: float | None = None  # seconds since the epoch: since when
