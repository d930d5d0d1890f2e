"""Plans as scripts that run by hand, with the files that they need beside them."""

from __future__ import annotations

from pathlib import Path

from reconciler.engine.model import Plan
from reconciler.engine.text import counts


def write_plan(plan: Plan, folder: Path, title: str) -> Path:
    """`NODE.sh` with the bare lines, and `NODE.files/` with staged contents. Returns the script's path."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / f"{plan.node}.sh"
    lines = ["#!/bin/sh", f"# {plan.node} · {title} · {counts(plan)}", "set -eu", 'cd "$(dirname "$0")"']
    number = 0
    for action in plan.actions:
        if not action.lines:
            lines.append(f"# left out: {action.ref}: {action.held}")
            continue
        for file in action.files:
            number += 1
            staged = folder / f"{plan.node}.files" / f"{number}"
            staged.parent.mkdir(exist_ok=True)
            staged.write_bytes(file.content)
            lines.append(f"install -D -m {file.mode:04o} -T {plan.node}.files/{number} {file.path}")
        lines += [str(line) for line in action.lines]
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return script
