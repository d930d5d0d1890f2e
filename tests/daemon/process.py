"""The daemon as a process of its own, on a folder like a mounted ConfigMap."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.namespaces import sh

NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}
  n2: {address: 10.0.2.12/24, podCIDRs: [10.244.2.0/24]}
  n3: {address: 10.0.3.13/24, podCIDRs: [10.244.3.0/24]}
fabric: {podNetwork: [10.244.0.0/16]}
"""
COMMAND = (sys.executable, "-m", "reconciler.cli")
HERE = Path(__file__).parents[2]


class Daemon:
    """A process in the namespace of the thread that starts it."""

    def __init__(
        self, log: Path, config: Path, state: Path, *facts: Path, before: tuple[str, ...] = (), options: tuple[str, ...] = ()
    ) -> None:
        self.log = log
        manifests = [word for path in facts for word in ("--facts", str(path))]
        command = [*before, *COMMAND, "run", "--config", str(config), "--node", "n1", "--state", str(state), *manifests, *options]
        with log.open("a") as stream:
            self.process = subprocess.Popen(command, stderr=stream, cwd=HERE)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", 9474, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            return 0, ""
        finally:
            connection.close()

    @property
    def status(self) -> dict[str, Any]:
        self.until(lambda: self.get("/status")[0] == 200)
        said: dict[str, Any] = json.loads(self.get("/status")[1])
        return said

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def until(self, condition: Callable[[], bool], seconds: float = 15) -> float:
        """Wait until something is so; how long it took. Fails with the log."""
        began = time.monotonic()
        while not condition():
            assert self.process.poll() is None, f"it ended\n{self.log.read_text()}"
            assert time.monotonic() - began < seconds, f"not within {seconds} s\n{self.get('/status')[1]}\n{self.log.read_text()}"
            threading.Event().wait(0.01)
        return time.monotonic() - began

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for text in self.log.read_text().splitlines() if (line := json.loads(text))["event"] == event]

    def end(self, how: signal.Signals = signal.SIGTERM) -> float:
        """How long it took to end."""
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(timeout=10)
        return time.monotonic() - began


def held() -> str:
    """All that a fabric is made of, line by line, without what changes by itself."""
    said = sh(
        "set +e; exec 2>/dev/null; ip -d link show plumb0; ip -4 addr show plumb0; bridge fdb show dev plumb0; "
        "ip neigh show dev plumb0 nud permanent; ip nexthop show; ip route show proto 94; ip -6 route show proto 94; nft -s list ruleset; true"
    )
    return "\n".join(sorted(re.sub(r"^\d+: ", "", line) for line in said.splitlines()))


def node(name: str, address: str, pod_cidr: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDRs": [pod_cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def plumbline(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, as a person would type it on the node."""
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=HERE, check=False)
