"""What the daemon is started with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

LISTEN = "127.0.0.1:9474"


class Settings(NamedTuple):
    """`plumbline run`'s options."""

    config: Path | None  # network.yaml, or the folder of the mounted ConfigMap; None: by watch alone
    node: str  # which node of the cluster this is
    facts: tuple[Path, ...] = ()  # manifests of Nodes: files or folders
    dry_run: bool = False  # report what differs, change nothing
    root: str = ""  # folder that stands for / in `file` rows (a lab's node)
    listen: str = LISTEN  # HOST:PORT, [HOST]:PORT or "off"
    resync: float | None = None  # seconds between rounds that nothing asked for; None: as the schedule finds right
    json_logs: bool | None = None  # None: key=value on a terminal, else JSON
    state: Path | None = None  # folder of what is kept for a restart; None: nothing is
    verbose: bool = False  # rounds that changed nothing are logged too
    cluster: bool = False  # the Kubernetes API tells the facts, and is told how this node is
    configmap: str = ""  # NAMESPACE/NAME of network.yaml, by watch
    servers: tuple[str, ...] = ()  # where the API is, before all that network.yaml and the environment say
    kubeconfig: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders that are read."""
        return (*((self.config,) if self.config else ()), *self.facts)

    @property
    def source(self) -> str:
        """Where network.yaml comes from, for people."""
        return f"configmap {self.configmap}" if self.configmap else str(self.config)

    @property
    def needs_api(self) -> bool:
        return self.cluster or bool(self.configmap)
