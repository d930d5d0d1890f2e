"""One at a time runs lines in a network namespace, for as long as its last tool lives, whatever became of who started it.

An abstract unix socket, which the kernel keeps per network namespace (unix(7)). Tools
inherit its descriptor: when a plumbline is killed in the middle of a batch, the name stays
taken until the batch has ended too. The next plumbline ends what such a one has left running,
for a batch that is cut off behind any line is put right by whoever looks afterwards, and one
that goes on behind the back of a look is not.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from reconciler.kernel.processes import TIMEOUT
from reconciler.kernel.requester import holds

NAME = "\0plumbline-writing"
WITHIN = TIMEOUT + 10.0  # seconds; a plumbline that lives stops its tools before
_SOUND = 5.0  # seconds; a batch that takes longer hangs, most likely
_SLICE = 0.2  # seconds between two looks at who it is
_DIES = 1.0  # seconds that what was killed has to be gone
_WAITERS = 64
_LISTENING = "00010000"  # __SO_ACCEPTCON, include/linux/net.h
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_SIGKILL = 1 << (signal.SIGKILL - 1)  # in SigPnd and ShdPnd of /proc/PID/status (proc(5))


Turn = Callable[[Callable[[], bool]], AbstractContextManager[tuple[int, ...]]]


class CannotWrite(Exception):
    """No line may run now: somebody else runs some and did not end, or that cannot be told; names the processes."""


def never() -> bool:
    """Nobody asks to end."""
    return False


@contextmanager
def alone(ending: Callable[[], bool] = never, within: float = WITHIN) -> Iterator[tuple[int, ...]]:
    """Nobody else runs lines meanwhile. Yields the descriptors that tools have to inherit.

    ending: true once it is no use to wait any longer. within: seconds to wait. Raises CannotWrite.
    """
    held = _taken(ending, within)
    try:
        yield () if held is None else (held.fileno(),)
    finally:
        if held is not None:
            held.close()


def wait_for_others() -> None:
    """Before a first look: nobody goes on behind its back, not what a killed one has left running either. Raises CannotWrite."""
    with alone():
        pass


@contextmanager
def anyway(ending: Callable[[], bool] = never) -> Iterator[tuple[int, ...]]:
    """The same for the way back of a change that cut the node off: whoever still runs lines by then is waited for, and not for long."""
    with ExitStack() as held:
        try:
            keep = held.enter_context(alone(ending, _SOUND))
        except CannotWrite:
            keep = ()
        yield keep


def _taken(ending: Callable[[], bool], within: float) -> socket.socket | None:
    """None where the name is taken by what does not count: somebody who is no plumbline, or only processes that are killed already."""
    began = time.monotonic()
    while (held := _bound()) is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asked:
            try:
                asked.connect(NAME)
                owner, user, _ = _UCRED.unpack(asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            except BlockingIOError:
                owner, user = 0, os.geteuid()  # others queue here already, and see to it
            except OSError:  # it ended meanwhile, or is about to listen
                if time.monotonic() - began > _DIES:
                    return None  # it never does: it is no plumbline
                select.poll().poll(1)
                continue
            if user != os.geteuid():
                return None
            holders = _holders()
            waited = time.monotonic() - began
            if owner and owner not in holders and _readable(owner):
                if not _lives(owner):  # of one that lives it may be a tool that is being started, and has every descriptor until it runs
                    _kill(holders)
                if holders and waited > _DIES and all(map(_dying, holders)):
                    return None  # inside the kernel for good: not one more line is read by them
            if waited > within or ending():
                raise CannotWrite(_told(owner, holders, waited))
            gone = select.poll()
            gone.register(asked, select.POLLHUP)
            gone.poll(1000 * _SLICE)
    return held


def _bound() -> socket.socket | None:
    """The name, held; None where somebody else holds it."""
    held = None
    try:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        held.bind(NAME)
        held.listen(_WAITERS)  # so that others can ask who holds it, and wait until nobody does
    except OSError as error:
        if held is not None:
            held.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise CannotWrite(f"it cannot be told whether others run lines here: {error.strerror}") from None
    return held


def _holders() -> list[int]:
    """The processes that have the socket, as far as they can be seen from this pid namespace."""
    wanted = _socket()
    return [int(pid) for pid in filter(str.isdecimal, os.listdir("/proc")) if wanted and holds(f"/proc/{pid}/fd", wanted)]


def _socket() -> str:
    """What its descriptors are links to. Columns: Num RefCount Protocol Flags Type St Inode Path; those who wait have the path too."""
    with suppress(OSError):
        for line in Path("/proc/thread-self/net/unix").read_text(errors="replace").splitlines():
            words = line.split()
            if words[-1] == "@" + NAME[1:] and words[3] == _LISTENING:
                return f"socket:[{words[6]}]"
    return ""


def _lives(pid: int) -> bool:
    """A zombie does not."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def _readable(pid: int) -> bool:
    """Whether it would be seen among the holders: one that may not be looked at is taken for alive."""
    try:
        os.listdir(f"/proc/{pid}/fd")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _kill(holders: list[int]) -> None:
    """They are tools whose plumbline is no more: a process is held before it is looked at again, for a pid may be another's by now."""
    for pid in holders:
        with suppress(OSError):
            held = os.pidfd_open(pid)
            try:
                if holds(f"/proc/{pid}/fd", _socket()):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
            finally:
                os.close(held)


def _dying(pid: int) -> bool:
    """Whether it is killed and only waits for the kernel, in an uninterruptible sleep: one that is yet to get its turn soon ends."""
    with suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        said = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        pending = int(said.get("SigPnd", "0"), 16) | int(said.get("ShdPnd", "0"), 16)
        return said.get("State", "").startswith("D") and bool(pending & _SIGKILL)
    return True  # gone


def _told(owner: int, holders: list[int], waited: float) -> str:
    tools = ", ".join(f"{_called(pid)} (pid {pid})" for pid in holders if pid != owner)
    who = f"another plumbline (pid {owner})" if owner else "a process that cannot be seen from here (another pid namespace)"
    return (
        f"{who} runs lines in this network namespace{f' with {tools}' if tools else ''} and did not end within {waited:.0f} s: "
        "two at a time would undo each other's; wait for it or stop it, and try again"
    )


def _called(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return "a process"
