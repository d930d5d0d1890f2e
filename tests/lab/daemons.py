"""Real daemons on the nodes of a lab, of this version's code or of another one's."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from reconciler.kernel.netns import inside
from reconciler.lab.configmap import ConfigMapFolder
from reconciler.lab.nodes import PORT
from reconciler.lab.state import Lab
from reconciler.lab.wait import until

TODAY = Path(__file__).parents[2]
SECONDS = 30.0  # for whatever is waited for


class Daemon:
    """One `plumbline run`."""

    def __init__(self, lab: Lab, node: str, config: Path, code: Path) -> None:
        self.lab, self.node, self._netns = lab, node, lab.topology.machine(node).netns
        self._log = lab.node_folder(node) / "log"
        command = [
            *("nsenter", f"--net=/run/netns/{self._netns}", sys.executable, "-m", "reconciler.cli", "run"),
            *("--config", str(config), "--node", node, "--root", lab.root(node), "--listen", f"127.0.0.1:{PORT}"),
        ]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=code, env=_environment(lab, node, code), stderr=log)

    def get(self, path: str) -> str:
        """What it answers; empty while it does not."""

        def ask() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            try:
                connection.request("GET", path)
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return ""
            finally:
                connection.close()

        return inside(self._netns, ask)

    @property
    def status(self) -> Mapping[str, Any]:
        said: Mapping[str, Any] = json.loads(self.get("/status") or "{}")
        return said

    def settled(self, text: str) -> None:
        """Wait until this content is in place."""
        digest = sha256(text.encode()).hexdigest()
        until(lambda: (said := self.status).get("ready", False) and said["spec"]["digest"] == digest, SECONDS, self._why)

    def looked_again(self) -> Mapping[str, Any]:
        """Asked to read everything again (SIGHUP): the status after that round."""
        rounds = self.status["rounds"]
        self.process.send_signal(signal.SIGHUP)
        until(lambda: (said := self.status)["rounds"] > rounds and "hangup" in said["lastRound"]["triggers"], SECONDS, self._why)
        return self.status

    def done(self) -> dict[str, int]:
        """Actions that it ran since its start, by verb."""
        counts = {"create": 0, "update": 0, "delete": 0}
        for line in self.get("/metrics").splitlines():
            if line.startswith("plumbline_actions_total{"):
                labels, _, count = line.rpartition(" ")
                counts[next(verb for verb in counts if f'verb="{verb}"' in labels)] += int(float(count))
        return counts

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(timeout=20)

    def _why(self) -> str:
        return f"{self.node} is not as it should be: {self.get('/status')}\n{self._log.read_text()[-4000:]}"


def _environment(lab: Lab, node: str, code: Path) -> dict[str, str]:
    """Its own version's code; its own state too, said so that a version without the option does not mind."""
    return {**os.environ, "PYTHONPATH": str(code), "PLUMBLINE_STATE": str(lab.node_folder(node) / "state")}


class Cluster:
    """The daemons of a lab's nodes, on one folder like a mounted ConfigMap."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.text = lab, ""
        self._folder = ConfigMapFolder(lab.folder / "config")
        self.daemons: dict[str, Daemon] = {}

    def start(self, node: str, code: Path = TODAY) -> Daemon:
        self.daemons[node] = Daemon(self.lab, node, self._folder.folder, code)
        return self.daemons[node]

    def restart(self, node: str, how: signal.Signals = signal.SIGTERM, code: Path = TODAY) -> Daemon:
        """The new one has put everything in place when this returns."""
        self.daemons[node].end(how)
        started = self.start(node, code)
        started.settled(self.text)
        return started

    def swap(self, text: str) -> None:
        """New content, and nobody is waited for."""
        self.text = text
        self._folder.swap(text)

    def edit(self, text: str) -> None:
        """New content, in place on every node when this returns."""
        self.swap(text)
        self.settled()

    def settled(self) -> None:
        for daemon in self.daemons.values():
            daemon.settled(self.text)

    def done(self) -> dict[str, int]:
        """Actions of all daemons since they were started, by verb."""
        each = [daemon.done() for daemon in self.daemons.values()]
        return {verb: sum(counts[verb] for counts in each) for verb in ("create", "update", "delete")}


@contextmanager
def cluster(lab: Lab, text: str, code: Mapping[str, Path] | None = None) -> Iterator[Cluster]:
    """A daemon on every node that `text` names, each of its own version's code, ready; killed at the end."""
    made = Cluster(lab)
    made.swap(text)
    try:
        for machine in lab.topology.machines:
            if f"  {machine.name}: " in text:
                made.start(machine.name, (code or {}).get(machine.name, TODAY))
        made.settled()
        yield made
    finally:
        for daemon in made.daemons.values():
            with suppress(ProcessLookupError):
                daemon.process.kill()
            daemon.process.wait(timeout=10)
