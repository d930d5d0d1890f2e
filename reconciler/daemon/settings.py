"""What the daemon is started with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

LISTEN = "127.0.0.1:9474"


class Settings(NamedTuple):
    """`plumbline run`'s options."""

    config: Path  # network.yaml, or the folder of the mounted ConfigMap
    node: str  # which node of the cluster this is
    facts: tuple[Path, ...] = ()  # manifests of Nodes: files or folders
    dry_run: bool = False  # report what differs, change nothing
    root: str = ""  # folder that stands for / in `file` rows (a lab's node)
    listen: str = LISTEN  # HOST:PORT, [HOST]:PORT or "off"
    resync: float | None = None  # seconds between rounds that nothing asked for; None: as the schedule finds right
    json_logs: bool | None = None  # None: key=value on a terminal, else JSON
    state: Path | None = None  # folder of what is kept for a restart; None: nothing is
    verbose: bool = False  # rounds that changed nothing are logged too
