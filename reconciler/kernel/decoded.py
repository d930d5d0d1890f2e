"""What a dump of many messages meant last time, so that only what is new in it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from reconciler.engine.reader import Place

T = TypeVar("T")


class Decoded(NamedTuple, Generic[T]):
    """The messages of a dump, what each meant (None: no row), and the rows among that."""

    place: Place
    messages: list[bytes]
    meaning: dict[bytes, T | None]
    rows: list[T]


def after(
    before: Decoded[T] | None, place: Place, messages: list[bytes], decode: Callable[[Place, Sequence[bytes]], list[T | None]]
) -> Decoded[T]:
    """The dump as it is now. One that did not change gives the very same rows again."""
    if before is None or before.place != place:
        known: dict[bytes, T | None] = {}
    elif before.messages == messages:
        return before
    else:
        known = before.meaning
    new = [message for message in messages if message not in known]
    meaning = dict(zip(new, decode(place, new), strict=True))
    if len(new) < len(messages):
        meaning = {message: meaning[message] if message in meaning else known[message] for message in messages}
    return Decoded(place, messages, meaning, [row for message in messages if (row := meaning[message]) is not None])
