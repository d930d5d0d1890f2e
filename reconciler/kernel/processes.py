"""The tools that one plumbline starts: each gets its lines as a whole, has its time, and is stopped when that is over.

Lines come from memory and not through a pipe: whoever feeds a pipe and is killed
leaves the tool with half a line, and `ip -batch` runs it. A `route del` without
its last words is about somebody else's route.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import NamedTuple

# A tool that takes longer hangs: the longest that a sound one was seen to take are two seconds, for a device with 10,000 children.
TIMEOUT = 30.0  # seconds
ASKED = 10.0  # the same once this process was asked to end
SLOW = 5.0  # seconds after which it is worth telling that a tool is waited for
_SLICE = 0.2  # seconds; so often somebody who waits looks whether it was asked to end
_DIES = 1.0  # seconds that a killed process has to be gone; one inside the kernel takes as long as it likes
_NO_EXEC = 0x8  # MFD_NOEXEC_SEAL (memfd_create(2)): since Linux 6.3, where a node may insist on it


class ToolFailed(Exception):
    """A tool that is missing, hangs, or cannot be started."""


class ToolNotInstalled(ToolFailed):
    """A tool that is not there at all."""


class ToolHung(ToolFailed):
    """A tool that was stopped because its time was over.

    stderr: what it had said. read: bytes of its lines that it had read; it reads them in blocks.
    """

    def __init__(self, message: str, stderr: str, read: int) -> None:
        super().__init__(message)
        self.stderr, self.read = stderr, read


class Waiting(NamedTuple):
    """A tool that runs for longer than it should."""

    command: str
    pid: int
    seconds: float  # that it has been running
    limit: float  # seconds after which it is stopped

    def __str__(self) -> str:
        what = self.command if len(self.command) <= 80 else f"{self.command[:80]} …"
        return f"waits for `{what}` (pid {self.pid}) since {self.seconds:.0f} s; it is stopped after {self.limit:g} s"


class Processes:
    """Runs tools, from any thread. timeout: seconds that each of them has."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._lock = Lock()
        self._running: dict[int, tuple[str, float]] = {}
        self._left: list[subprocess.Popen[str]] = []  # killed, and not gone yet
        self._ending = False
        self._given_up = False

    def end(self) -> None:
        """This process was asked to end: what runs has little time left, and once that was not enough nothing more is begun."""
        self._ending = True

    @property
    def ending(self) -> bool:
        return self._ending

    @property
    def waiting(self) -> Waiting | None:
        """The tool that has been waited for longest, where that is worth telling."""
        with self._lock:
            if not self._running:
                return None
            pid, (command, since) = min(self._running.items(), key=lambda one: one[1][1])
        seconds = time.monotonic() - since
        return Waiting(command, pid, seconds, self._limit) if seconds > SLOW else None

    def run(self, words: Sequence[str], stdin: str | None, keep: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
        """Run one tool to its end. keep: descriptors that it inherits. Raises ToolFailed."""
        if self._given_up:
            raise ToolFailed(f"{words[0]} is not run: plumbline was asked to end, and waited for a tool that hangs")
        with _lines(stdin) as lines:
            try:
                process = subprocess.Popen(words, stdin=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                           text=True, errors="replace", pass_fds=keep)  # fmt: skip
            except OSError as error:
                raise ToolFailed(f"{words[0]} cannot be started: {error.strerror}") from None
            try:
                with self._told(process, words):
                    stdout, stderr = self._wait(process, words[0], lines)
            finally:
                self._reap(process)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    @contextmanager
    def _told(self, process: subprocess.Popen[str], words: Sequence[str]) -> Iterator[None]:
        with self._lock:
            self._running[process.pid] = (" ".join(words), time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                del self._running[process.pid]

    @property
    def _limit(self) -> float:
        return min(ASKED, self._timeout) if self._ending else self._timeout

    def _wait(self, process: subprocess.Popen[str], tool: str, lines: int) -> tuple[str, str]:
        began, said = time.monotonic(), b""
        while (left := began + self._limit - time.monotonic()) > 0:
            try:
                return process.communicate(timeout=min(left, _SLICE))
            except subprocess.TimeoutExpired as late:
                said = late.stderr or b""
        self._given_up = self._ending
        process.kill()
        stopped = "was stopped"
        try:
            process.wait(_DIES)
        except subprocess.TimeoutExpired:
            stopped = f"cannot be stopped (pid {process.pid}): the kernel holds it, and whatever it waits for there is what to look for"
        read = os.lseek(lines, 0, os.SEEK_CUR) if lines >= 0 else 0
        raise ToolHung(f"{tool} did not end within {self._limit:g} s and {stopped}", said.decode(errors="replace"), read)

    def _reap(self, process: subprocess.Popen[str]) -> None:
        """Whatever happened, no pipe stays open; a process that cannot be killed is looked at again when the next one ends."""
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if process.poll() is None:
            process.kill()  # something other than its time ended the waiting: Ctrl-C, say
        with self._lock:
            self._left = [one for one in (*self._left, process) if one.poll() is None]


@contextmanager
def _lines(text: str | None) -> Iterator[int]:
    """A descriptor to read the text from; of nothing, where there is none."""
    if text is None:
        yield subprocess.DEVNULL
        return
    try:
        memory = _memory()
        try:
            with open(memory, "wb", closefd=False) as stream:
                stream.write(text.encode(errors="replace"))
            os.lseek(memory, 0, os.SEEK_SET)
        except OSError:
            os.close(memory)
            raise
    except OSError as error:
        raise ToolFailed(f"no room for the lines of a batch: {error.strerror}") from None
    try:
        yield memory
    finally:
        os.close(memory)


def _memory() -> int:
    with suppress(OSError):
        return os.memfd_create("plumbline-lines", os.MFD_CLOEXEC | _NO_EXEC)
    return os.memfd_create("plumbline-lines", os.MFD_CLOEXEC)
