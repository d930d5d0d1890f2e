"""What goes wrong around a daemon: lost events, a jumping clock, half a network.yaml, a spoiled cache, a second writer, no descriptors."""

from __future__ import annotations

import io
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.daemon.inputs import load_inputs, unpack_inputs
from reconciler.daemon.keeping import Keeper
from reconciler.daemon.logs import make_logger
from reconciler.daemon.loop import Daemon
from reconciler.daemon.settings import Settings
from reconciler.daemon.state import StateFolder
from reconciler.kernel.node import KernelNode
from tests.daemon.made import Running
from tests.faults.engine import engine
from tests.faults.scenarios import FULL, ours
from tests.faults.strike import Site
from tests.namespaces import sh


def content(site: Site) -> str:
    """The network.yaml of a scenario; a daemon has nothing left to do where it names only nodes."""
    return site.scenario.wanted or FULL.partition("fabric:")[0]


@contextmanager
def daemon(
    site: Site, *, text: str | None = None, state: Path | None = None, spoil: Callable[[Daemon], None] | None = None
) -> Iterator[Running]:
    """A daemon in a thread of its own, on a plain file. text: what it holds at the start; None: there is no file."""
    file = site.folder / "network.yaml"
    if text is not None:
        file.write_text(text)
    log = io.StringIO()
    settings = Settings(file, "n1", root=str(site.root), listen="off", verbose=True)
    keeper = Keeper(StateFolder(state) if state else None, lambda body: unpack_inputs(settings, body))
    keeper.open()
    one = Daemon(settings, make_logger(log, json=True, verbose=True, node="n1"), lambda: load_inputs(settings), keeper)
    if spoil is not None:
        spoil(one)
    thread = threading.Thread(target=one.serve)
    thread.start()
    try:
        yield Running(one, log)
    finally:
        one.stop()
        thread.join(timeout=10)
        assert not thread.is_alive(), "the daemon does not stop"
        one.close()
        keeper.close()


def ready(running: Running) -> bool:
    return running.daemon.status.ready


BREAK = "ip nexthop flush protocol 94; nft delete table inet plumbline 2>/dev/null || true"
STATIC = "".join(f"route {verb} 10.150.{number}.0/24 dev eth0\n" for verb in ("add", "del") for number in range(256))


def events_lost(site: Site) -> int:
    """ENOBUFS: what somebody breaks is told by an event that did not fit any more."""
    held, waits = threading.Event(), threading.Event()
    held.set()

    def hold(one: Daemon) -> None:
        hear = one._hear

        def later() -> None:
            waits.set()
            held.wait(30)
            hear()

        one._hear = later  # type: ignore[method-assign]

    with daemon(site, text=content(site), spoil=hold) as running:
        running.until(partial(ready, running))
        good = ours(site.root)
        for one in running.daemon._events._sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        held.clear()
        waits.clear()
        sh("ip route add 10.151.0.0/24 dev eth0; ip route del 10.151.0.0/24 dev eth0")
        assert waits.wait(10), "the daemon was not woken"
        sh(f"ip -batch - <<'END'\n{STATIC}END\n{BREAK}")
        held.set()
        running.until(lambda: any("overflow" in str(line["triggers"]) for line in running.logged("round")))
        running.until(lambda: ours(site.root) == good)
        return sum("overflow" in str(line["triggers"]) for line in running.logged("round"))


def clock_jumps(site: Site) -> int:
    """The time of day leaps ten years back and forth: nothing is decided by it."""
    asked: list[float] = []
    real = time.time

    def leaping() -> float:
        asked.append(real())
        return real() + (315e6 if len(asked) % 2 else -315e6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", leaping)
        with daemon(site, text=content(site), state=site.folder / "state") as running:
            running.until(partial(ready, running))
            good = ours(site.root)
            for _ in range(2):
                sh(BREAK)
                assert running.until(lambda: ours(site.root) == good) < 8
    return len(asked)


def half_written(site: Site) -> int:
    """network.yaml is cut off in the middle of a line, then empty, before it is whole."""
    struck = 0
    text = content(site)
    with daemon(site, text=site.scenario.before or text) as running:
        running.until(partial(ready, running))
        good = ours(site.root)
        for end in (text.index("podCIDRs: [10.244.2") + 12, 0):
            (site.folder / "network.yaml").write_text(text[:end])
            running.until(lambda: bool(running.daemon.status.problems))
            assert "network.yaml" in running.daemon.status.problems[0]
            sh(BREAK)
            running.until(lambda: ours(site.root) == good)
            struck += 1
        (site.folder / "network.yaml").write_text(text)
        running.until(partial(ready, running))
    return struck


def cache_spoiled(how: Callable[[bytes], bytes], site: Site) -> int:
    """What was kept for a start without content is no longer what it was; the content comes later."""
    state = site.folder / "state"
    with daemon(site, text=site.scenario.before or content(site), state=state) as running:
        running.until(partial(ready, running))
    good = ours(site.root)
    file = state / "last-good"
    file.write_bytes(how(file.read_bytes()))
    (site.folder / "network.yaml").unlink()
    with daemon(site, state=state) as running:
        running.until(lambda: running.daemon.status.rounds > 0)
        assert running.daemon.status.state_problems, "nobody was told"
        assert ours(site.root) == good, "without content nothing is taken away"
        (site.folder / "network.yaml").write_text(content(site))
        running.until(partial(ready, running))
    return 1


def apply_meanwhile(site: Site) -> int:
    """A daemon and an apply of the same content, at the same time."""
    wanted = site.scenario.scope(site.root)
    with daemon(site, text=content(site)) as running:
        node = KernelNode()
        for _ in range(3):
            engine(node).converge(wanted)
            sh(BREAK)
        node.close()
        running.until(partial(ready, running))
        running.until(lambda: not engine_left(site))
    return 3


def engine_left(site: Site) -> bool:
    """Whether anything is left to do."""
    node = KernelNode()
    plan, _ = engine(node).plan(site.scenario.scope(site.root))
    node.close()
    return not plan.empty


def descriptors_gone(site: Site) -> int:
    """No file can be opened for a while, by anybody in the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with daemon(site, text=content(site)) as running:
        running.until(partial(ready, running))
        good = ours(site.root)
        free = os.open("/dev/null", os.O_RDONLY)
        os.close(free)
        told = running.daemon.status.rounds
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            running.daemon.wake("hangup")
            running.until(lambda: running.daemon.status.rounds > told)
            problems = running.daemon.status.problems + running.daemon.status.errors
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert any("Too many open files" in one for one in problems), problems
        sh(BREAK)
        running.until(lambda: ours(site.root) == good)
        running.daemon.wake("hangup")
        running.until(partial(ready, running))
    return len(problems)


def state_disk_full(site: Site) -> int:
    """What is to be kept for a restart finds no room."""
    state = site.folder / "state"
    state.mkdir(mode=0o700)
    sh(f"mount -t tmpfs -o size=16k,mode=700 tmpfs {state}")
    with suppress(OSError), (state / "filler").open("wb", buffering=0) as stream:
        while stream.write(bytes(1024)):
            pass
    with daemon(site, text=content(site), state=state) as running:
        running.until(lambda: running.daemon.status.converged and bool(running.daemon.status.state_problems))
    sh(f"umount {state}")
    return 1


class DaemonFault(NamedTuple):
    """One column of the table. `play` takes a daemon through it to the scenario's end, and counts how often it struck."""

    name: str
    play: Callable[[Site], int]

    def __str__(self) -> str:
        return self.name


FAULTS = (
    DaemonFault("ENOBUFS on the event socket", events_lost),
    DaemonFault("clock jump", clock_jumps),
    DaemonFault("config half written", half_written),
    DaemonFault("cache cut off", partial(cache_spoiled, lambda kept: kept[: len(kept) // 2])),
    DaemonFault("cache with another byte", partial(cache_spoiled, lambda kept: kept[:-9] + b"~" + kept[-8:])),
    DaemonFault("cache empty", partial(cache_spoiled, lambda kept: b"")),
    DaemonFault("daemon and apply at once", apply_meanwhile),
    DaemonFault("daemon out of file descriptors", descriptors_gone),
    DaemonFault("state disk full", state_disk_full),
)
