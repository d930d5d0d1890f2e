"""A container runtime in small: it calls the plugins of a list in order, each with the result of the one before (CNI 1.1.0, section 3)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = Path(__file__).parents[2] / "cni" / "plumbline.c"
REFERENCE = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
WITHOUT = {"PATH": os.environ["PATH"]}


class Said(NamedTuple):
    """What a plugin did."""

    status: int
    text: str

    @property
    def error(self) -> dict[str, Any]:
        """A CNI error, and nothing beside it."""
        assert self.status == 1, self
        said: dict[str, Any] = json.loads(self.text)
        assert {"cniVersion", "code", "msg"} <= said.keys() <= {"cniVersion", "code", "msg", "details"}, said
        return said


class Failed(Exception):
    """A plugin of the list failed."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.text)
        self.said = said


def call(plugin: Path, command: str | None, body: bytes | str = b"{}", **variables: str) -> Said:
    """One call of one plugin; `variables` without CNI_, or whole in capitals."""
    named = {name if name.isupper() and "_" in name else f"CNI_{name.upper()}": value for name, value in variables.items()}
    environment = WITHOUT | ({"CNI_COMMAND": command} if command is not None else {}) | named
    said = body.encode() if isinstance(body, str) else body
    done = subprocess.run([str(plugin)], input=said, env=environment, capture_output=True, check=False, timeout=60)
    assert not done.stderr, done.stderr
    return Said(done.returncode, done.stdout.decode())


class Runtime:
    """Calls the plugins of the node that the calling thread is in."""

    def __init__(self, conflist: Path, plugin: Path, socket: Path, data: Path) -> None:
        self.plugin = plugin
        self._conflist, self._socket, self._data = conflist, socket, data
        self.results: dict[str, Mapping[str, Any]] = {}

    @property
    def network(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._conflist.read_bytes())
        return said

    def add(self, pod: str, netns: str, container: str = "", **more: str) -> Mapping[str, Any]:
        """The last plugin's result. Raises Failed."""
        result = None
        for plugin in self.network["plugins"]:
            said = self.call("ADD", pod, netns, plugin, container=container, result=result, **more)
            if said.status:
                raise Failed(said)
            result = json.loads(said.text)
        self.results[pod] = result
        return result

    def delete(self, pod: str, netns: str, container: str = "") -> None:
        """In reverse. Raises Failed."""
        self._each("DEL", pod, netns, reversed(self.network["plugins"]), container)

    def check(self, pod: str, netns: str, container: str = "") -> None:
        """Raises Failed."""
        self._each("CHECK", pod, netns, self.network["plugins"], container)

    def _each(self, command: str, pod: str, netns: str, plugins: Any, container: str) -> None:
        for plugin in plugins:
            said = self.call(command, pod, netns, plugin, container=container, result=self.results.get(pod))
            if said.status:
                raise Failed(said)

    def ours(self, command: str, pod: str = "", netns: str = "", container: str = "", **more: Any) -> Said:
        """Our own plugin alone."""
        return self.call(command, pod, netns, {"type": "plumbline", **more}, container=container, result=self.results.get(pod))

    def call(
        self, command: str, pod: str, netns: str, plugin: Mapping[str, Any], *, container: str = "", result: Any = None, **more: str
    ) -> Said:
        network = self.network
        config = {**plugin, "cniVersion": network["cniVersion"], "name": network["name"]}
        config |= {"runtimeConfig": {}} if plugin.get("capabilities") else {}
        config |= {"prevResult": result} if result is not None else {}
        namespace, _, name = pod.partition("/")
        variables = {
            "CNI_COMMAND": command,
            "CNI_PATH": f"{REFERENCE}:{self.plugin.parent}",
            "PLUMBLINE_CNI_SOCKET": str(self._socket),
        }
        if pod:
            variables |= {
                "CNI_CONTAINERID": container or f"sandbox-{name}",
                "CNI_IFNAME": "eth0",
                "CNI_NETNS": f"/run/netns/{netns}" if netns else "",
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={more.get('uid', f'uid-{name}')}",
            }
        program = self.plugin if plugin["type"] == "plumbline" else REFERENCE / str(plugin["type"])
        # host-local keeps its leases in /var/lib/cni: each node its own
        command_line = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /var/lib && exec "$1"', str(self._data), str(program)]
        done = subprocess.run(
            command_line, input=json.dumps(config), env=WITHOUT | variables, capture_output=True, text=True, check=False, timeout=60
        )
        return Said(done.returncode, done.stdout)


def build(folder: Path, *options: str, compiler: str = "gcc") -> Path:
    """The plugin, as `make cni` builds it."""
    plugin = folder / "plumbline"
    command = [str(SOURCE.parents[1] / ".ci" / "plugin"), str(SOURCE), str(plugin), *options]
    done = subprocess.run(command, env={**os.environ, "CC": compiler}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return plugin


def why_not() -> str:
    """Why the plugin cannot be built here; empty when it can."""
    return (
        ""
        if shutil.which("gcc") and Path("/usr/include/stdlib.h").exists()
        else "no gcc here: the CNI plugin is not built (gcc, libc6-dev)"
    )


def why_no_reference() -> str:
    return "" if (REFERENCE / "bridge").exists() else f"no {REFERENCE}/bridge here (containernetworking-plugins)"
