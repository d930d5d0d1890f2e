"""Network namespaces: entering one with a thread, and naming them by what they are (namespaces(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from reconciler.engine.reader import NamespaceGone, ObservationFailed

T = TypeVar("T")
Identity = tuple[int, int]  # device, inode: what a namespace is known by (namespaces(7))

RUN = "/run/netns"
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(netns: str) -> str:
    """The file that stands for a namespace, by its name or its path; "" is the caller's own."""
    if netns.startswith("/"):
        return netns
    return f"{RUN}/{netns}" if netns else "/proc/thread-self/ns/net"


def identity(netns: str) -> Identity:
    """(device, inode): what a namespace is known by. Never the pid of somebody in it."""
    try:
        status = os.stat(path_of(netns))
    except OSError as error:
        raise ObservationFailed(f"network namespace {netns or 'of this process'}: {error.strerror}") from error
    return status.st_dev, status.st_ino


@contextmanager
def opened(netns: str, known: Identity | None = None) -> Iterator[tuple[int, Identity]]:
    """A descriptor of a namespace, and what it is known by.

    Raises NamespaceGone where there is none, or where it is not the one that was `known`.
    """
    try:
        descriptor = os.open(path_of(netns), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NamespaceGone(netns) from None
    try:
        status = os.fstat(descriptor)
        if status.st_dev != os.stat("/proc/thread-self/ns/net").st_dev:  # the file stays for a moment when its mount has gone
            raise NamespaceGone(netns)
        if known not in (None, (status.st_dev, status.st_ino)):
            raise NamespaceGone(netns, "is no longer the one that was observed")
        yield descriptor, (status.st_dev, status.st_ino)
    finally:
        os.close(descriptor)


def change_to(descriptor: int) -> None:
    """This thread into another network namespace (setns(2)). Raises OSError."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:  # Python 3.11 has no os.setns
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def entered(netns: str, known: Identity | None = None) -> Iterator[None]:
    """This thread inside a namespace. Only for threads of our own, never the main one. Raises NamespaceGone, OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with opened(netns, known) as (there, _):
            change_to(there)
        try:
            yield
        finally:
            change_to(home)
    finally:
        os.close(home)


def inside(netns: str, call: Callable[[], T], known: Identity | None = None) -> T:
    """What `call` returns, run by a thread inside the namespace; directly for our own.

    Raises NamespaceGone when the namespace is gone, or is not the `known` one, ObservationFailed when it may not be entered.
    """
    if not netns:
        return call()

    def work() -> T:
        try:
            with entered(netns, known):
                return call()
        except OSError as error:
            raise ObservationFailed(f"network namespace {netns}: {error.strerror or error}") from error

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"netns-{netns}") as pool:
        return pool.submit(work).result()
