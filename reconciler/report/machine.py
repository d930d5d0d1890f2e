"""Plans as JSON for other programs. The names here are stable; new ones may be added."""

from __future__ import annotations

from typing import Any

from reconciler.engine.model import Plan
from reconciler.engine.text import about


def plan_document(plan: Plan, against: str) -> dict[str, Any]:
    """One node's plan."""
    return {
        "node": plan.node,
        "against": against,
        "digest": plan.digest,
        "empty": plan.empty,
        "actions": [
            {
                "verb": action.verb.name.lower(),
                "kind": action.change.kind,
                "key": {name: _plain(value) for name, value in action.change.row.key._asdict().items() if value not in ("", 0)},
                "about": about(action),
                "lines": [str(line) for line in action.lines],
                "files": [{"path": file.path, "mode": f"{file.mode:04o}"} for file in action.files],
                "origin": [str(origin) for origin in action.change.row.origin],
                "reason": action.note,
                "held": action.held,
            }
            for action in plan.actions
        ],
        "conflicts": [{"reason": conflict.reason, "remedy": conflict.remedy} for conflict in plan.conflicts],
        "failures": list(plan.failures),
        "refusal": plan.refusal._asdict() if plan.refusal else None,
    }


def _plain(value: Any) -> Any:
    """Bytes as the lines have them: hexadecimal digits."""
    return value.hex(" ") if isinstance(value, bytes) else value
