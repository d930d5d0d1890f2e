"""A host whose init is a real systemd, and pods on it as the chart's DaemonSet describes them. All of it in namespaces.

The host's network namespace is that of the thread which boots it. Its other namespaces and its cgroup are its own,
its file system is the machine's, read-only but for one folder, and without this package: that is in the pods' image.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import reconciler
from reconciler.lab.wait import until
from tests.charts.test_confined import CAPABILITIES

SYSTEMD = Path("/usr/lib/systemd/systemd")
TOOLS = ("unshare", "nsenter", "setpriv", "systemctl")
PACKAGE = Path(reconciler.__file__).parent
TARGETS = ("default", "sysinit", "basic", "shutdown")  # what a service leans on by default
WAIT = 20.0
_numbers = itertools.count()

# $1: the folder; $2: cgroup; $3: the package; $4: the boot's id, empty for the machine's.
_BOOT = """
mount --make-rprivate /
umount -R --lazy /run/netns 2>/dev/null || true # would keep alive what other tests have done with
mount -t proc proc /proc
mount --bind "$1" "$1"
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /dev/null /dev/console
mount -t tmpfs -o ro tmpfs "$3"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
[ -z "$4" ] || mount --bind "$4" /proc/sys/kernel/random/boot_id
mount -o remount,bind,ro /
exec env -i container=plumbline-test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$1/units" \\
  /usr/lib/systemd/systemd --system --log-target=null --show-status=no
"""
# $1: the folder; $2: the package; $3: the boot's id; $4: what of the host's /run/systemd is mounted.
_POD = """
mount --make-rprivate /
umount "$2"
mkdir -p "$1/systemd"
[ -z "$4" ] || mount --bind "/run/systemd/$4" "$1/systemd"
mount -t tmpfs tmpfs /run
mkdir -p "/run/systemd/$4"
[ -z "$4" ] || { mount --move "$1/systemd" "/run/systemd/$4" && mount -o remount,bind,ro "/run/systemd/$4"; }
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
[ -z "$3" ] || mount --bind "$3" /proc/sys/kernel/random/boot_id
shift 4
exec setpriv --no-new-privs --bounding-set="$CAPABILITIES" --inh-caps=-all "$@"
"""


class Pod:
    """Processes in a PID and a mount namespace of their own; the network is the host's."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def until(self, text: str) -> str:
        """All that it has said once a line has this text. Fails where it ends before, or takes too long."""

        def told() -> bool:
            assert self.process.poll() is None or text in self.said, f"it ended before it said {text!r}:\n{self.said}"
            return text in self.said and self.said.endswith("\n")

        until(told, WAIT, lambda: f"it does not say {text!r}:\n{self.said}")
        return self.said

    @property
    def said(self) -> str:
        """All of it so far."""
        return self.log.read_text()

    def kill(self) -> None:
        """SIGKILL to its process 1, and so to all of it."""
        (inside,) = _children(_children(self.process.pid)[0])  # of nsenter, unshare
        os.kill(inside, signal.SIGKILL)
        self.process.wait(timeout=WAIT)


class Host:
    """A running one."""

    def __init__(self, folder: Path, cgroup: Path, boot_id: str) -> None:
        self.folder, self._cgroup, self._boot_id = folder, cgroup, boot_id
        self._pods: list[subprocess.Popen[bytes]] = []
        (folder / "units").mkdir(exist_ok=True)
        for name in TARGETS:
            (folder / "units" / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
        enter = 'echo $$ > "$0/cgroup.procs" && exec unshare --fork --kill-child --pid --mount --uts --ipc --cgroup sh -euc "$@"'
        words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "sh",
            "-c",
            enter,
            str(cgroup),
            _BOOT,
            "sh",
            str(folder),
            str(cgroup),
            str(PACKAGE),
            boot_id,
        ]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        until(lambda: self.systemctl("is-system-running") == "running", WAIT, lambda: f"systemd: {self.systemctl('is-system-running')}")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the host."""
        return subprocess.run([*self._inside(), *words], capture_output=True, text=True, check=False)

    def systemctl(self, *words: str) -> str:
        """What it answers; empty while nothing does."""
        return self.run("systemctl", "--no-legend", "--plain", *words).stdout.strip() if _children(self._process.pid) else ""

    def watchdogs(self) -> list[str]:
        """The units that watch, whatever their state."""
        return [line.split()[0] for line in self.systemctl("list-units", "--all", "plumbline-*").splitlines()]

    def pod(self, *words: str, mounted: str = "") -> Pod:
        """Start one that runs plumbline. mounted: what it has of the host's /run/systemd; "." for all of it."""
        bounding = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES)])
        environment = {**os.environ, "CAPABILITIES": bounding, "TMPDIR": str(self.folder)}
        enter = 'mkdir -p "$0" && echo $$ > "$0/cgroup.procs" && exec unshare --fork --kill-child --pid --mount --cgroup sh -euc "$@"'
        pod = [_POD, "sh", str(self.folder), str(PACKAGE), self._boot_id, mounted]
        command = [*self._inside(), "sh", "-c", enter, "/sys/fs/cgroup/pod", *pod, sys.executable, "-m", "reconciler.cli", *words]
        log = self.folder / f"pod-{next(_numbers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=PACKAGE.parent
            )
        self._pods.append(process)
        return Pod(process, log)

    def end(self) -> None:
        """As if its power failed."""
        self._process.kill()
        for process in (self._process, *self._pods):
            process.wait(timeout=WAIT)
        until(lambda: not _populated(self._cgroup), WAIT, lambda: f"processes are left in {self._cgroup}")

    def _inside(self) -> list[str]:
        (init,) = _children(self._process.pid)
        return ["nsenter", "--target", str(init), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"]


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """One machine, which can be booted again and again."""
    cgroup = cgroup2() / f"plt-{os.getpid()}-{next(_numbers)}"
    cgroup.mkdir()
    made = Machine(folder, cgroup)
    try:
        yield made
    finally:
        made.off()
        for below, _, _ in os.walk(cgroup, topdown=False):
            Path(below).rmdir()


class Machine:
    """Off at first."""

    def __init__(self, folder: Path, cgroup: Path) -> None:
        self._folder, self._cgroup = folder, cgroup
        self._host: Host | None = None

    def boot(self) -> Host:
        """Boot it, anew where it runs: then its boot has another id."""
        boot_id = ""
        if self._host is not None:
            self.off()
            boot_id = str(self._folder / "boot_id")
            Path(boot_id).write_text(f"{uuid.uuid4()}\n")
        self._host = Host(self._folder, self._cgroup, boot_id)
        return self._host

    def off(self) -> None:
        if self._host is not None:
            self._host.end()


def cgroup2() -> Path:
    """Where the machine has cgroup v2. Raises LookupError."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise LookupError("no cgroup v2 is mounted on this machine")


def why_not() -> str:
    """Why this machine cannot boot one; empty when it can."""
    missing = [name for name in (str(SYSTEMD), *TOOLS) if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: Debian's packages systemd and util-linux have them"
    try:
        probe = cgroup2() / f"plt-probe-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except (OSError, LookupError) as error:
        return f"systemd needs a cgroup of its own: {error}"
    return ""


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _populated(cgroup: Path) -> bool:
    return "populated 1" in (cgroup / "cgroup.events").read_text()
