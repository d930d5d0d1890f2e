"""A daemon as a process of its own, in the namespace of the thread that starts it, looked at through proc(5)."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parents[1]
PORT = 9474
_TICKS = os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """What the kernel says of a process."""

    resident: int  # VmRSS, bytes
    peak: int  # VmHWM, bytes
    threads: int
    descriptors: int


class Process:
    """`plumbline run`; see `daemon`."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("a") as stream:
            self._process = subprocess.Popen(command, stderr=stream, cwd=HERE)
        self.pid = self._process.pid

    def get(self, path: str) -> str:
        """What it answers; empty while it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    @property
    def status(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.get("/status") or "{}")
        return said

    @property
    def ready(self) -> bool:
        return bool(self.status.get("ready"))

    def until(self, condition: Callable[[], bool], seconds: float = 30.0, every: float = 0.01) -> None:
        """Wait until something is so. Fails with the end of the log."""
        pause, end = threading.Event(), time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, f"the daemon ended\n{self._tail()}"
            assert time.monotonic() < end, f"not within {seconds} s: {self.get('/status')}\n{self._tail()}"
            pause.wait(every)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-30:])

    def figures(self) -> Figures:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        said = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        return Figures(int(said["VmRSS"][0]) << 10, int(said["VmHWM"][0]) << 10, int(said["Threads"][0]), descriptors)

    def seconds(self) -> float:
        """Of processor time until now, its own and that of the tools it ran."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / _TICKS  # utime, stime, cutime, cstime

    def hang_up(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """SIGTERM, and SIGKILL to one that does not end."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def daemon(folder: Path, config: Path, *facts: Path, node: str) -> Iterator[Process]:
    """A running one; its log, its state and whatever it writes are below `folder`."""
    command = [
        *(sys.executable, "-m", "reconciler.cli", "run", "--config", str(config), "--node", node),
        *("--listen", f"127.0.0.1:{PORT}", "--root", str(folder / "root"), "--state", str(folder / "state")),
        *(word for path in facts for word in ("--facts", str(path))),
    ]
    (folder / "root").mkdir(exist_ok=True)
    started = Process(command, folder / "log")
    try:
        yield started
    finally:
        started.end()
