"""Network namespaces of a test's own. A test that uses the `netns` fixture runs inside a fresh one."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.kernel.netns import entered

_numbers = itertools.count()


def sh(script: str) -> str:
    """Run a shell script as a person would, in the namespace of this thread; what it prints."""
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def why_not() -> str:
    """Why this machine cannot make namespaces; empty when it can."""
    name = f"plt-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"no network namespaces here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@contextmanager
def fresh_namespace() -> Iterator[str]:
    """A namespace of its own, entered by this thread, with lo up; gone afterwards."""
    name = f"plt-{os.getpid()}-{next(_numbers)}"
    sh(f"ip netns add {name}")
    try:
        with entered(name):
            sh("ip link set lo up")
            yield name
    finally:
        sh(f"ip netns del {name}")


def skip_without_namespaces() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)
