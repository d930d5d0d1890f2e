"""Ask a node about every kind."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kinds, ObservationFailed, Reader, Scope
from reconciler.engine.model import Observed, Seen


def observe(kinds: Kinds, io: Reader, scope: Scope, names: Iterable[str] | None = None) -> Seen:
    """See every kind (or those named). One that cannot be seen is noted as such and holds up no other."""
    seen = {}
    for name in kinds if names is None else names:
        try:
            rows = kinds[name].observe(io, scope)
            seen[name] = Observed(rows if isinstance(rows, list) else list(rows))
        except ObservationFailed as failure:
            seen[name] = Observed([], str(failure))
    return Seen(seen)
