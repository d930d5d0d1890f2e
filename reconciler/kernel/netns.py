"""Network namespaces: entering one with a thread, and naming them by what they are (namespaces(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from reconciler.engine.kind import ObservationFailed

T = TypeVar("T")

RUN = "/run/netns"
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(netns: str) -> str:
    """The file that stands for a namespace; "" is the caller's own."""
    return f"{RUN}/{netns}" if netns else "/proc/thread-self/ns/net"


def identity(netns: str) -> tuple[int, int]:
    """(device, inode): what a namespace is known by. Never the pid of somebody in it."""
    try:
        status = os.stat(path_of(netns))
    except OSError as error:
        raise ObservationFailed(f"network namespace {netns or 'of this process'}: {error.strerror}") from error
    return status.st_dev, status.st_ino


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:  # Python 3.11 has no os.setns
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def entered(netns: str) -> Iterator[None]:
    """This thread inside a namespace. Only for threads of our own, never the main one."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path_of(netns), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def inside(netns: str, call: Callable[[], T]) -> T:
    """What `call` returns, run by a thread inside the namespace; directly for our own.

    Raises ObservationFailed when the namespace is gone or may not be entered.
    """
    if not netns:
        return call()

    def work() -> T:
        try:
            with entered(netns):
                return call()
        except OSError as error:
            raise ObservationFailed(f"network namespace {netns}: {error.strerror or error}") from error

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"netns-{netns}") as pool:
        return pool.submit(work).result()
