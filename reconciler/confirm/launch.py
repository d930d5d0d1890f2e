"""Starts the watchdog where it outlives us, and waits until it watches.

Best is a transient unit of the host's systemd: neither the end of a container nor that of a session ends it. It
enters the mount namespace of whoever starts it, by a descriptor, and so finds this Python, these tools and this
journal also where they are a container's; of the host it needs nsenter alone, and no process id of anybody.
Elsewhere it is a process of a session of its own, which ends with its container.
"""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import sys
import time
from pathlib import Path

from reconciler.confirm.watchdog import READY, NoWatchdog
from reconciler.kernel import systemd
from reconciler.kernel.proc_sys import ELSEWHERE
from reconciler.kernel.systemd import NoSystemd

WITHIN = 10.0  # seconds that a watchdog has to say that it watches
NSENTER = "/usr/bin/nsenter"  # of the host
_PASSED_ON = ("PATH", "PYTHONDONTWRITEBYTECODE", ELSEWHERE)
_PACKAGE = Path(__file__).absolute().parents[2]


def start(folder: Path) -> str:
    """Start one for what is armed in the folder; where it runs, for people. Raises NoWatchdog."""
    command = [sys.executable, "-m", "reconciler.confirm.watchdog", str(folder.absolute())]
    try:
        why = gap()
        if not why:
            try:
                return f"the unit {_as_a_unit(command)} of this host's systemd"
            except (NoSystemd, NoWatchdog) as error:
                why = str(error)
        return f"process {_in_a_session(command)}, which ends with its container if it is in one: {why}"
    except (OSError, NoWatchdog) as error:
        raise NoWatchdog(f"the watchdog that would undo the change cannot be started: {error}") from None


def gap() -> str:
    """Why a watchdog would be no unit of the host's systemd; empty where it would be one."""
    try:
        if not Path("/proc/1/ns/net").samefile("/proc/thread-self/ns/net"):
            return "/proc/1/ns/net: init's network namespace is another one"  # a lab's node: it leaves the machine alone
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return systemd.why_not()


def _as_a_unit(command: list[str]) -> str:
    """Its name. Raises NoSystemd, NoWatchdog, OSError."""
    name = f"plumbline-watchdog-{secrets.token_hex(4)}.service"
    # A container's /proc is of its own processes, and of none once it has ended: the watchdog mounts another.
    inside = [NSENTER, "--mount=/proc/self/fd/0", "--", "unshare", "--mount-proc", "--", *command, _network()]
    environment = _environment()
    passed = {key: environment[key] for key in (*_PASSED_ON, "PYTHONPATH") if key in environment}
    with _Ear() as ear, open("/proc/self/ns/mnt", "rb") as mounts:
        systemd.start_unit(
            name, "plumbline: undoes a change that nobody confirms", inside, environment=passed, stdin=mounts.fileno(), stdout=ear.mouth
        )
        try:
            ear.heard()
        except NoWatchdog as error:
            raise NoWatchdog(f"the unit {name} came to nothing: {error}; journalctl -u {name}") from None
    return name


def _in_a_session(command: list[str]) -> str:
    """Its process id. Raises NoWatchdog, OSError."""
    with _Ear() as ear:
        started = [sys.executable, "-c", _SESSION, *command]
        subprocess.run(started, stdin=subprocess.DEVNULL, stdout=ear.mouth, stderr=ear.mouth, env=_environment(), check=False)
        return ear.heard()


# In a session of its own, and nobody's child: no signal to our group and no end of ours reaches it.
_SESSION = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
os.chdir("/")
os.execv(sys.argv[1], sys.argv[1:])
"""


def _network() -> str:
    """Of this thread: a unit that finds itself elsewhere must not touch anything there."""
    return str(Path("/proc/thread-self/ns/net").readlink())


def _environment() -> dict[str, str]:
    """Ours, with the way to this package where it is not installed: nothing is looked for in the folder that we stand in."""
    found = dict(os.environ)
    if not _PACKAGE.is_relative_to(sys.prefix):
        folders = [str(_PACKAGE), *found.get("PYTHONPATH", "").split(os.pathsep)]
        found["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in folders if one)
    return found


class _Ear:
    """A pipe by which a watchdog says that it watches."""

    def __enter__(self) -> _Ear:
        self._said, self.mouth = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in {self._said, self.mouth} - {-1}:
            os.close(descriptor)

    def heard(self) -> str:
        """Its process id, as it sees it. Raises NoWatchdog with what it said instead."""
        os.close(self.mouth)
        self.mouth, said, end = -1, b"", time.monotonic() + WITHIN
        poller = select.poll()
        poller.register(self._said, select.POLLIN)
        while poller.poll(max(0.0, end - time.monotonic()) * 1000):
            more = os.read(self._said, 1 << 16)
            said += more
            lines = said.decode(errors="replace").splitlines()
            for line in lines:
                if line.startswith(READY) and said.endswith(b"\n"):
                    return line.removeprefix(READY)
            if not more:
                raise NoWatchdog(lines[-1] if lines else "it ended without a word")
        raise NoWatchdog(f"it did not begin to watch within {WITHIN:g} s")
