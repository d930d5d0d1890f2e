"""What a kubelet asks of a runtime, in small (cri-api, pkg/apis/runtime/v1/api.proto; the numbers are those of its fields)."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PYTHON = "/usr/bin/python3"  # Debian's, which finds python3-grpcio
_CALL = Path(__file__).parent / "call.py"
_WHOLE, _BYTES = 0, 2  # wire types of protobuf: a varint, and what has a length

Value = str | bytes | int


class Sandbox(NamedTuple):
    """A pod that runs, and what it was asked for with."""

    id: str
    config: bytes


class Refused(Exception):
    """The runtime did not do it; its words."""


class Cri:
    """`before`: the words that bring a command to where the runtime is."""

    def __init__(self, before: Sequence[str], socket: str) -> None:
        self._before, self._socket = tuple(before), socket
        self._attempts = itertools.count()

    def version(self) -> str:
        """What the runtime is. Raises Refused."""
        return field(self.call("Version", message((1, "v1"))), 2).decode()

    def ready(self) -> bool:
        """Whether it has a network for pods, as it says to the kubelet. Raises Refused."""
        conditions = [value for number, value in fields(field(self.call("Status", b""), 1)) if number == 1 and isinstance(value, bytes)]
        return any(field(one, 1) == b"NetworkReady" and (2, 1) in fields(one) for one in conditions)

    def run(self, namespace: str, name: str, uid: str, cgroup: str) -> Sandbox:
        """A pod without containers: its namespace, connected by CNI. Raises Refused."""
        metadata = message((1, name), (2, uid), (3, namespace), (4, next(self._attempts)))  # one that failed keeps its name
        config = message((1, metadata), (2, name), (8, message((1, cgroup))))
        return Sandbox(field(self.call("RunPodSandbox", message((1, config))), 1).decode(), config)

    def start(self, sandbox: Sandbox, image: str, *command: str) -> str:
        """A container in it; its id. Raises Refused."""
        container = message((1, message((1, "main"))), (2, message((1, image))), *((3, word) for word in command))
        made = self.call("CreateContainer", message((1, sandbox.id), (2, container), (3, sandbox.config)))
        self.call("StartContainer", message((1, field(made, 1))))
        return field(made, 1).decode()

    def address(self, sandbox: Sandbox) -> str:
        """The pod's own. Raises Refused."""
        status = field(self.call("PodSandboxStatus", message((1, sandbox.id))), 1)
        return field(field(status, 5), 1).decode()

    def execute(self, container: str, *words: str) -> tuple[int, str]:
        """Its exit status, and all that it printed. Raises Refused."""
        said = self.call("ExecSync", message((1, container), *((2, word) for word in words), (3, 20)))
        status = next((value for number, value in fields(said) if number == 3), 0)
        assert isinstance(status, int)
        return status, (field(said, 1) + field(said, 2)).decode()

    def stop(self, sandbox: Sandbox) -> None:
        """The pod and its containers, as a kubelet does it: stopped, then removed. Raises Refused."""
        self.call("StopPodSandbox", message((1, sandbox.id)))
        self.call("RemovePodSandbox", message((1, sandbox.id)))

    def every(self) -> list[str]:
        """Ids of all sandboxes and containers, whatever their state. Raises Refused."""
        lists = (self.call("ListPodSandbox", b""), self.call("ListContainers", b""))
        return [field(one, 1).decode() for said in lists for number, one in fields(said) if number == 1 and isinstance(one, bytes)]

    def call(self, method: str, body: bytes) -> bytes:
        """Raises Refused."""
        words = [*self._before, PYTHON, str(_CALL), self._socket, f"/runtime.v1.RuntimeService/{method}"]
        done = subprocess.run(words, input=body, capture_output=True, check=False, timeout=90)
        if done.returncode != 0:
            raise Refused(done.stderr.decode().strip())
        return done.stdout


def message(*values: tuple[int, Value]) -> bytes:
    """A protobuf message."""
    return b"".join(_field(number, value) for number, value in values)


def field(body: bytes, wanted: int) -> bytes:
    """The first of this number; empty where it has none."""
    for number, value in fields(body):
        if number == wanted and isinstance(value, bytes):
            return value
    return b""


def fields(body: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Those with a length and whole numbers: a runtime's answers have no others."""
    at = 0
    while at < len(body):
        tag, at = _read(body, at)
        value, at = _read(body, at)
        if tag & 7 == _WHOLE:
            yield tag >> 3, value
        else:
            assert tag & 7 == _BYTES, f"wire type {tag & 7}"
            yield tag >> 3, body[at : at + value]
            at += value


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _whole(number << 3 | _WHOLE) + _whole(value)
    data = value.encode() if isinstance(value, str) else value
    return _whole(number << 3 | _BYTES) + _whole(len(data)) + data


def _whole(value: int) -> bytes:
    said = bytearray()
    while value > 0x7F:
        said.append(value & 0x7F | 0x80)
        value >>= 7
    said.append(value)
    return bytes(said)


def _read(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
