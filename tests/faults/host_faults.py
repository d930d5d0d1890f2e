"""A host that lacks something: space, writable settings, file descriptors, a carrier."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from reconciler.engine.round import Result
from reconciler.kernel.node import KernelNode
from tests.faults.scenarios import MANY
from tests.faults.strike import Fault, Site, Strike
from tests.namespaces import sh


def _told(words: str) -> Callable[[Result], int]:
    """Used, as the round's errors say."""
    return lambda result: sum(words in error for error in result.errors)


@contextmanager
def disk_full(site: Site) -> Iterator[Strike]:
    """No block is left where the node's files are."""
    filler = site.root / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    node = KernelNode()
    yield Strike(node, _told("No space left on device"))
    node.close()
    filler.unlink()


@contextmanager
def no_inodes(site: Site) -> Iterator[Strike]:
    """No file can be made where the node's files are."""
    fillers = site.root / "fillers"
    fillers.mkdir()
    with suppress(OSError):
        for number in range(10_000):
            (fillers / str(number)).touch()
    node = KernelNode()
    yield Strike(node, _told("No space left on device"))
    node.close()
    sh(f"rm -r {fillers}")


def small(root: Path) -> None:
    sh(f"mount -t tmpfs -o size=64k,nr_inodes=64 tmpfs {root}")


@contextmanager
def read_only_sysctls(site: Site) -> Iterator[Strike]:
    """As in a container that is not privileged."""
    sh("mount -o bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys")
    node = KernelNode()
    yield Strike(node, _told("sysctl "))
    node.close()
    sh("umount /proc/sys")


@contextmanager
def few_descriptors(spare: int, site: Site) -> Iterator[Strike]:
    """This process may open so many files more, and no further ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    node = KernelNode()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
    try:
        yield Strike(node, _told("Too many open files"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        node.close()


@contextmanager
def carrier_flap(site: Site) -> Iterator[Strike]:
    """The uplink's wire was pulled out and put back while no plumbline ran."""
    flapped = []
    for state in ("down", "up"):
        sh(f"ip link set gateway {state}")
        deadline = time.monotonic() + 10
        while f"state {'UP' if state == 'up' else 'LOWERLAYERDOWN'}" not in sh("ip -o link show eth0"):
            assert time.monotonic() < deadline, "the carrier did not change"
            threading.Event().wait(0.01)
        flapped.append(state)
    node = KernelNode()
    yield Strike(node, lambda result: len(flapped))
    node.close()


_WRITTEN = ("cold start", "vxlan changes in place", "settings change")

FAULTS = (
    Fault("disk full", disk_full, scenarios=_WRITTEN, prepare=small),
    Fault("no inodes left", no_inodes, scenarios=_WRITTEN, prepare=small),
    Fault("read-only sysctls", read_only_sysctls, frozenset({"sysctl"})),
    *(Fault(f"out of file descriptors, {spare} left", partial(few_descriptors, spare)) for spare in (0, 1, 4, 7)),
    Fault("out of file descriptors, many lines", partial(few_descriptors, 1), scenarios=(MANY,)),
    Fault("carrier flap while stopped", carrier_flap),
)
