"""Ask a node about every kind."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Observed, Seen
from reconciler.engine.reader import NamespaceGone, ObservationFailed, Reader, Scope
from reconciler.engine.rows import Rows
from reconciler.wire.netlink import UNREADABLE


def observe(kinds: Kinds, io: Reader, scope: Scope, names: Iterable[str] | None = None) -> Seen:
    """See every kind (or those named). One that cannot be seen is noted as such and holds up no other.

    A namespace that goes meanwhile was not there: what was asked in it is asked again of the others.
    """
    others = tuple(name for name in scope.netns if name)
    asked = tuple(kinds if names is None else names)
    gone: dict[str, str] = {}
    while True:
        with io.visit([name for name in others if name not in gone]) as absent:
            missing = {**absent, **gone}
            try:
                return Seen(_observed(kinds, io, scope.without(missing) if missing else scope, asked), missing)
            except NamespaceGone as error:
                gone[error.netns] = ""


def _observed(kinds: Kinds, io: Reader, scope: Scope, names: Iterable[str]) -> dict[str, Observed]:
    seen = {}
    for name in names:
        try:
            rows = kinds[name].observe(io, scope)
            seen[name] = Observed(rows if isinstance(rows, list | Rows) else list(rows))
        except NamespaceGone:
            raise
        except ObservationFailed as failure:
            seen[name] = Observed([], str(failure))
        except UNREADABLE as error:  # of a tool that prints something else than it used to
            seen[name] = Observed([], f"the answer cannot be read: {error or type(error).__name__}")
    return seen
