"""An Open vSwitch of a test's own: Debian's ovsdb-server and ovs-vswitchd, in the namespace of this thread and a folder of theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces import sh

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_SECONDS = 20.0


class OpenVSwitch:
    """Its folder stands for the / of a node."""

    def __init__(self, root: Path, namespace: str) -> None:
        self.namespace = namespace
        self.root = str(root)
        self.folder = root / "var/run/openvswitch"
        self.folder.mkdir(parents=True)
        self.socket = f"unix:{self.folder}/db.sock"
        self._processes: list[subprocess.Popen[bytes]] = []
        sh(f"ovsdb-tool create {self.folder}/conf.db {SCHEMA}")
        self.database = self._start("ovsdb-server", f"{self.folder}/conf.db", f"--remote=p{self.socket}")
        until(lambda: self._answers(), "ovsdb-server")
        self.switch = self.start_switch()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        name = f"{self.folder}/{words[0]}"
        with Path(f"{name}.log").open("wb") as log:
            process = subprocess.Popen((*words, f"--unixctl={name}.ctl", "--no-chdir"), stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def _answers(self) -> bool:
        words = ("ovs-vsctl", f"--db={self.socket}", "--timeout=5", "--no-wait", "init")
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def start_switch(self) -> subprocess.Popen[bytes]:
        """ovs-vswitchd, to which the first command waits."""
        return self._start("ovs-vswitchd", self.socket)

    def vsctl(self, words: str) -> str:
        """What somebody else does with it."""
        return sh(f"ovs-vsctl --timeout=10 --db={self.socket} {words}")

    def everything(self, *without: str) -> list[Any]:
        """All that people made: records of the three tables, without what ovs-vswitchd says of them; names left out."""
        told = self.vsctl(
            "--format=json -- --columns=name,datapath_type,fail_mode,protocols,other_config,external_ids list bridge "
            "-- --columns=name,tag,vlan_mode,trunks,external_ids list port -- --columns=name,type,options,mtu_request,external_ids list interface"
        )
        found = [dict(zip(table["headings"], row, strict=True)) for table in map(json.loads, told.splitlines()) for row in table["data"]]
        return sorted((one for one in found if one["name"] not in without), key=str)

    def end(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=_SECONDS)


def until(condition: Any, what: str) -> None:
    """Poll until something is so."""
    pause, end = threading.Event(), time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {_SECONDS} s"
        pause.wait(0.01)


def why_not() -> str:
    """Why there can be none here; empty when there can."""
    missing = [tool for tool in ("ovs-vsctl", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd") if shutil.which(tool) is None]
    if missing:
        return f"no Open vSwitch here: {missing[0]} is missing; it comes with openvswitch-switch"
    return "" if SCHEMA.exists() else f"no Open vSwitch here: {SCHEMA} is missing"


@contextmanager
def openvswitch(namespace: str) -> Iterator[OpenVSwitch]:
    """One that runs, in the namespace of this thread, which is called so. Skips with the reason where there can be none."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="plt-ovs-"))  # short: a socket's path has 107 bytes (unix(7))
    switch = None
    try:
        switch = OpenVSwitch(folder, namespace)
        yield switch
    finally:
        if switch is not None:
            switch.end()
        shutil.rmtree(folder)
