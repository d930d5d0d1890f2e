"""Content made by hand, a node that is only remembered, and a running daemon."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.confirm.commit import Trial
from reconciler.confirm.trials import Trials
from reconciler.daemon.content import Rejected
from reconciler.daemon.keeping import Keeper
from reconciler.daemon.logs import make_logger
from reconciler.daemon.loop import Daemon
from reconciler.daemon.settings import Settings
from reconciler.daemon.state import StateFolder
from reconciler.engine.guard import Limits
from reconciler.engine.merge import merge
from reconciler.facts.model import Facts, Host, Node
from reconciler.intents import Compiled, IntentError
from reconciler.kinds import all_kinds
from reconciler.kinds.route import route
from reconciler.spec.cluster import Rollout
from reconciler.spec.confirm import Confirm

HOST = Host("eth0", 1500)


class Made(NamedTuple):
    """Inputs of given rows."""

    digest: str
    rows: tuple[Any, ...] = ()
    error: str = ""
    limits: Limits = Limits()
    needs_uplink: bool = False
    warnings: tuple[str, ...] = ()
    node: Node = Node("n1")
    name: str = "cluster"
    nodes: tuple[str, ...] = ()
    pod_cidrs: Mapping[str, tuple[str, ...]] = {}
    stale: bool = False
    pods: None = None
    pod_netns: str = "auto"
    services: None = None
    devices: tuple[str, ...] = ()
    served: int | None = None
    rollout: Rollout = Rollout()
    wire: Mapping[str, int] = {}

    @property
    def content(self) -> str:
        return f"content {self.digest}"

    def same(self, other: object) -> bool:
        return self == other

    def context(self, host: Host) -> None:
        return None

    def packed(self) -> bytes:
        return self.digest.encode()

    def trial(self, trials: Trials, look: Callable[[], Host]) -> Trial:
        return trials.of(self.digest, self.node.name, Confirm(), Facts({}), look)

    def compile(self, host: Host) -> Compiled:
        if self.error:
            raise IntentError(self.error)
        wanted, clashes = merge(all_kinds(), self.rows)
        return Compiled(wanted, clashes, [])


def blackholes(*numbers: int) -> tuple[Any, ...]:
    """Rows that need no link: routes to nowhere."""
    return tuple(route("", f"10.99.{number}.0/24", type="blackhole") for number in numbers)


class Content:
    """What `load` gives; set it and wake the daemon."""

    def __init__(self, inputs: Made | Rejected) -> None:
        self.inputs = inputs

    def __call__(self) -> Made:
        if isinstance(self.inputs, Rejected):
            raise self.inputs
        return self.inputs


class Running:
    """A daemon in a thread of its own, in the namespace of the thread that starts it."""

    def __init__(self, daemon: Daemon, log: io.StringIO) -> None:
        self.daemon, self._log = daemon, log

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> float:
        """Wait until something is so; how long it took. Fails with the daemon's log."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"not within {seconds} s: {self.daemon.status}\n{self._log.getvalue()}"
            threading.Event().wait(0.005)
        return time.monotonic() - began

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for text in self._log.getvalue().splitlines() if (line := json.loads(text))["event"] == event]


def nothing(body: bytes) -> Made:
    raise Rejected(("nothing was kept by this test",))


@contextmanager
def running(
    content: Content,
    tmp_path: Path,
    *,
    resync: float = 60,
    dry_run: bool = False,
    state: Path | None = None,
    kept: Callable[[bytes], Made] | None = None,
) -> Iterator[Running]:
    log = io.StringIO()
    settings = Settings(tmp_path / "network.yaml", "n1", dry_run=dry_run, listen="off", resync=resync, verbose=True)
    keeper = Keeper(StateFolder(state) if state else None, kept or nothing, reads_only=dry_run)
    keeper.open()
    daemon = Daemon(settings, make_logger(log, json=True, verbose=True, node="n1"), content, keeper)
    thread = threading.Thread(target=daemon.serve)
    thread.start()
    one = Running(daemon, log)
    try:
        yield one
    finally:
        daemon.stop()
        thread.join(timeout=5)
        assert not thread.is_alive(), "the daemon does not stop"
        daemon.close()
        keeper.close()
