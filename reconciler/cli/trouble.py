"""What ends a verb: said to a person, with what to do."""

from __future__ import annotations

from collections.abc import Iterable


class CannotGoOn(Exception):
    """What a person must mend; one thing a line. `status` is the exit status."""

    def __init__(self, messages: Iterable[str], status: int = 1) -> None:
        self.messages = tuple(messages)
        self.status = status
        super().__init__("\n".join(self.messages))
