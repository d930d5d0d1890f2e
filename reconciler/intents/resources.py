"""Intent `resources`: any row of any kind, by hand. The escape hatch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from reconciler.engine.model import Origin, with_fields
from reconciler.intents import Context, IntentError
from reconciler.intents.selector import selected
from reconciler.kinds import all_kinds
from reconciler.spec.resources import BadResource, resource_row


def rows(context: Context) -> Iterable[Any]:
    """The rows that apply to this node. Raises IntentError with the line of what is wrong."""
    root = context.facts.host.root if context.facts.host else ""
    for name, stated in context.spec.resources.items():
        kind = all_kinds().get(name)
        if kind is None:
            guess = difflib.get_close_matches(name, all_kinds(), 1)
            hint = f"did you mean {guess[0]}?" if guess else f"allowed: {', '.join(all_kinds())}"
            raise IntentError(f"{context.where(('resources', name))}: resources.{name}: there is no such kind; {hint}")
        for handle, said in stated.items():
            where = context.where(("resources", name, handle))
            fields = dict(said)
            selector = fields.pop("nodeSelector", {})
            if not isinstance(selector, dict) or not selected(context, selector):
                continue
            try:
                row = resource_row(kind, fields)
            except BadResource as error:
                line = context.where(("resources", name, handle, error.field)) if error.field else where
                raise IntentError(f"{line}: resources.{name}.{handle}{'.' if error.field else ''}{error.field}: {error}") from None
            if root:
                row = kind.below(row, root)
            yield with_fields(row, origin=(Origin("resources", f"{name} {handle}", where),))
