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
NO_TESTS = 5  # pytest's status


def main(arguments: list[str]) -> int:
    environment = {"PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if arguments[:1] == ["--exec"]:
        words = arguments[1:]
    else:
        words = [sys.executable, "-m", "pytest", "-m", "vm", "-p", "no:cacheprovider", *arguments]
    try:
        require_tools()
        image = prepared(CACHE)
        if arguments[:1] != ["--exec"] and (status := _collected(words, environment)) != 0:
            return status
        ended = boot(image, words, environment, cwd=ROOT, timeout=TIMEOUT)
    except Unavailable as reason:
        print(f"VM tier skipped: {reason}", file=sys.stderr)
        return 1 if os.environ.get("PLUMBLINE_VM") == "required" else 0
    if ended.status is None:
        print(f"the VM ended without a status:\n{ended.console}", file=sys.stderr)
        return 1
    return ended.status


def _collected(words: list[str], environment: dict[str, str]) -> int:
    """Collect the tests here first: mistakes show at once, and the guest finds every module compiled."""
    done = subprocess.run(
        [*words, "--collect-only", "-qq"], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == NO_TESTS:
        print("VM tier: no test is marked `vm` among these", file=sys.stderr)
    elif done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
