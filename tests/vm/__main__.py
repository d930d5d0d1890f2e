"""python -m tests.vm [PYTEST ARGUMENT…] | python -m tests.vm --exec COMMAND…

One boot runs the tests marked `vm`, or those that the arguments select among them
(Python is 20 to 35 times slower there than here: keep the batch small). The status
is pytest's. Where no VM can be had, the reason is told and the status is 0; with
PLUMBLINE_VM=required it is 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.vm.image import Unavailable, prepared, require_tools
from tests.vm.machine import boot

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/vm"
TIMEOUT = int(os.environ.get("PLUMBLINE_VM_TIMEOUT", "1800"))  # seconds
# Every module is found compiled, and only the plugins that tests name are loaded: imports are what takes time there.
ENVIRONMENT = {"PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
PYTEST = [sys.executable, "-m", "pytest", "-m", "vm", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-n", "0"]


class NothingToRun(Exception):
    """No test is selected, or the tests cannot be collected; the status says which, as pytest does."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def main(arguments: list[str]) -> int:
    try:
        require_tools()
        image = prepared(CACHE)
        words = arguments[1:] if arguments[:1] == ["--exec"] else _selected(arguments)
        ended = boot(image, words, ENVIRONMENT, cwd=ROOT, timeout=TIMEOUT)
    except Unavailable as reason:
        print(f"VM tier skipped: {reason}", file=sys.stderr)
        return 1 if os.environ.get("PLUMBLINE_VM") == "required" else 0
    except NothingToRun as nothing:
        return nothing.status
    if ended.status is None:
        print(f"the VM ended without a status:\n{ended.console}", file=sys.stderr)
        return 1
    return ended.status


def _selected(arguments: list[str]) -> list[str]:
    """The command that runs the files of the selected tests. They are collected here first: mistakes show at once."""
    collect = [*PYTEST, *arguments, "--collect-only", "-q", "--no-header"]
    done = subprocess.run(collect, env={**os.environ, **ENVIRONMENT}, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise NothingToRun(done.returncode)
    files = dict.fromkeys(line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line)
    options = [one for one in arguments if not Path(ROOT, one.partition("::")[0]).exists()]
    return [*PYTEST, *options, *(files if len(options) == len(arguments) else [one for one in arguments if one not in options])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
