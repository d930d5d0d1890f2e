"""Plans as a comment of a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.engine.model import Plan
from reconciler.engine.text import aligned, counts, printed

LIMIT = 60_000  # bytes; GitHub takes 65,536 characters in a comment


def markdown(plans: Sequence[Plan], title: str, against: str, remarks: Sequence[str] = ()) -> str:
    """A table of all nodes, then each plan folded; cut short, and said so, where it would be too long."""
    changed = [plan for plan in plans if not plan.empty]
    lines = [f"### plumbline · {title}", "", f"*{against}.* {len(changed)} of {len(plans)} nodes change.", ""]
    lines += [f"> ⚠ {remark}" for remark in remarks] + ([""] if remarks else [])
    if changed:
        lines += ["| node | plan |", "|---|---|", *(f"| {plan.node} | {counts(plan)} |" for plan in changed), ""]
    size = sum(len(line.encode()) + 1 for line in lines)
    for index, plan in enumerate(changed):
        block = _block(plan)
        size += sum(len(line.encode()) + 1 for line in block)
        if size > LIMIT:
            lines.append(f"… the plans of {len(changed) - index} more nodes are left out here; `plumbline plan --all` shows them.")
            break
        lines += block
    return "\n".join(lines) + "\n"


def _block(plan: Plan) -> list[str]:
    return [
        "<details>",
        f"<summary><b>{plan.node}</b>: {counts(plan)}</summary>",
        "",
        "```diff",
        *map(_signed, aligned(printed(plan))),
        "```",
        "</details>",
        "",
    ]


def _signed(line: str) -> str:
    """GitHub colours lines by + - !; a change is shown as !."""
    return "!" + line[1:] if line.startswith("~") else line
