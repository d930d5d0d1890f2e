"""Plans as scripts that run by hand, with the files that they need beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from reconciler.engine.model import Plan, StagedFile
from reconciler.engine.text import about, counts, visible

_ONLY_THERE = ("‹", b"\\u2039")  # how values that only the node knows begin: in lines, and in JSON


def write_plan(plan: Plan, folder: Path, title: str) -> Path:
    """`NODE.sh` with the bare lines, and `NODE.files/` with staged contents. Returns the script's path.

    What stood there of the same node is replaced. A script with values that
    only the node knows stops at once, before it has changed anything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / f"{plan.node}.files", ignore_errors=True)
    script = folder / f"{plan.node}.sh"
    lines = ["#!/bin/sh", visible(f"# {plan.node} · {title} · {counts(plan)}"), "set -eu", *_stop(plan), 'cd "$(dirname "$0")"']
    lines += _body(plan, folder)
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return script


def _stop(plan: Plan) -> Iterator[str]:
    said, written = _ONLY_THERE
    if any(said in str(line) for action in plan.actions for line in action.lines) or any(
        written in file.content for action in plan.actions for file in action.files
    ):
        yield (
            f"echo 'not to be run: values in ‹…› are known only on {plan.node}; make this script there, or from its snapshot "
            "(plumbline plan --snapshot … --out …)' >&2; exit 1"
        )


def _body(plan: Plan, folder: Path) -> Iterator[str]:
    number = 0
    for action in plan.actions:
        if not action.lines:
            yield visible(f"# left out: {action.ref}: {action.held}")
            continue
        for file in action.files:
            number += 1
            name = f"{plan.node}.files/{number}"
            _write(folder / name, file)
            yield f"install -D -m {file.mode:04o} -T {name} {file.path}"
        said = about(action)
        yield from (f"{line}  # {visible(said)}" if said else str(line) for line in action.lines)


def _write(path: Path, file: StagedFile) -> None:
    """As closed to others as its target will be: it may be secret."""
    path.parent.mkdir(exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode & 0o666), "wb") as staged:
        staged.write(file.content)
