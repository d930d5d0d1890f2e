"""A real kubelet, in the room of a containerd of its own (tests/containerd), beside the API server of this tier."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bpf.places import Unavailable
from tests.containerd import needs
from tests.containerd.room import SOCKET, Room

CONFIG: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": "127.0.0.1",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}, "x509": {}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "enforceNodeAllocatable": [],
    "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
    "failCgroupV1": False,
    "failSwapOn": False,
    "fileCheckFrequency": "1s",
    "imageGCHighThresholdPercent": 100,  # never: nobody could pull it again
    "localStorageCapacityIsolation": False,
    "makeIPTablesUtilChains": False,
    "nodeStatusUpdateFrequency": "1s",
    "oomScoreAdj": 0,
    "readOnlyPort": 0,
    "registerWithTaints": [{"key": "plumbline.dev/not-ready", "effect": "NoSchedule"}],
    "resolvConf": "",
    "runtimeRequestTimeout": "30s",
    "syncFrequency": "2s",  # how soon a pod's ConfigMap follows
}
# The kernel's parameters that a kubelet sets are the machine's: it finds what it wants, and writes none of them.
TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
BOOT_ID = "kernel/random/boot_id"
VARIABLE = "PLUMBLINE_KUBE_KUBELET"  # as `make test-kube` says it
HIERARCHIES = Path("/sys/fs/cgroup")


def binary() -> Path:
    """For a module of tests, which is skipped as a whole where it cannot run."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        pytest.skip("no real kubelet: make test-kube", allow_module_level=True)
    try:
        needs.require()
    except Unavailable as reason:
        if os.environ.get("PLUMBLINE_KUBE") == "required":
            raise
        pytest.skip(f"a real kubelet: {reason}", allow_module_level=True)
    return Path(said)


class Kubelet:
    """Of node n1. `kubeconfig`: how it reaches the API."""

    def __init__(self, binary: Path, room: Room, kubeconfig: Path, *options: str) -> None:
        self.room = room
        self._folder = room.folder / "kubelet"
        self._folder.mkdir()
        self.log = self._folder / "log"
        self.static = self._folder / "static"  # manifests of pods that need no API
        self.static.mkdir()
        places = {"volumePluginDir": str(self._folder / "plugins"), "staticPodPath": str(self.static)}
        config = CONFIG | {"cgroupRoot": f"/{room.cgroup.name}"} | places
        (self._folder / "config.json").write_text(json.dumps(config))
        self._words = (
            *room.before, str(binary), f"--config={self._folder}/config.json", f"--kubeconfig={kubeconfig}",
            f"--cert-dir={self._folder}/pki", "--hostname-override=n1", *options,
        )  # fmt: skip
        for top in _hierarchies():
            _cgroup(top / room.cgroup.name)
        room.run("mount", "-t", "tmpfs", "log", "/var/log")
        for name, value in {**TUNABLES, BOOT_ID: "first"}.items():
            file = self._folder / name.replace("/", ".")
            file.write_text(f"{value}\n")
            room.run("mount", "--bind", str(file), f"/proc/sys/{name}")
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self, name: str) -> None:
        """All that asks for it here finds this boot's id."""
        (self._folder / BOOT_ID.replace("/", ".")).write_text(f"{name}\n")

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._words, stdout=log, stderr=log, start_new_session=True)

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so. Fails with the log."""
        end, pause = time.monotonic() + seconds, threading.Event()
        while not condition():
            assert self._process is not None
            assert self._process.poll() is None, f"it ended\n{self.log.read_text()[-5000:]}"
            assert time.monotonic() < end, f"not within {seconds} s\n{self.log.read_text()[-5000:]}"
            pause.wait(0.1)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)


def _hierarchies() -> list[Path]:
    """Those of version 1, each with a folder of its own."""
    return [one for one in HIERARCHIES.iterdir() if (one / "cgroup.procs").exists() and not (one / "cgroup.controllers").exists()]


def _cgroup(folder: Path) -> None:
    """A kubelet asks that its root is there; one of cpuset that names no processors takes no process."""
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (folder / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())
