"""Plans as a comment of a pull request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.engine.model import Plan
from reconciler.engine.text import aligned, counts, printed, visible

LIMIT = 60_000  # bytes; GitHub takes 65,536 characters in a comment
ROWS = 200  # of the table; the plans of so many nodes are more than one comment anyway


def markdown(plans: Sequence[Plan], title: str, against: str, remarks: Sequence[str] = ()) -> str:
    """A table of all nodes, then each plan folded; cut short, and said so, where it would be too long."""
    changed = [plan for plan in plans if not plan.empty]
    lines = [f"### plumbline · {title}", "", f"*{against}.* {len(changed)} of {len(plans)} nodes change.", ""]
    lines += _limited([f"> ⚠ {visible(remark)}" for remark in remarks], LIMIT // 4, lambda left: f"> … and {left} more warnings")
    lines += [""] if remarks else []
    if changed:
        lines += ["| node | plan |", "|---|---|", *(f"| {plan.node} | {_counts(plan)} |" for plan in changed[:ROWS])]
        lines += [f"| … | {len(changed) - ROWS} more nodes |"] if len(changed) > ROWS else []
        lines.append("")
    left_out = "… the plans of {} more nodes are left out here; `plumbline plan --all` shows them."
    blocks = ["\n".join(_block(plan)) for plan in changed]
    return "\n".join(lines + _limited(blocks, LIMIT - _size(lines), left_out.format)) + "\n"


def _limited(parts: Sequence[str], room: int, rest: Callable[[int], str]) -> list[str]:
    """As many parts as `room` bytes hold, and a word about the rest."""
    for index, part in enumerate(parts):
        room -= _size([part])
        if room < 0:
            return [*parts[:index], rest(len(parts) - index)]
    return list(parts)


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _counts(plan: Plan) -> str:
    return counts(plan) + (", **refused by limits.maxDeletes**" if plan.refusal else "")


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
