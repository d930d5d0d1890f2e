"""What the container runtime says by the plugin, read as text that anybody may have written (CNI 1.1.0, section 2).

Names and arguments come from whoever made the pod; the configuration is root's own file, with the
results of other plugins in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.netns import Identity
from reconciler.kernel.pods import pod_namespace
from reconciler.wire.ip import normal_address, usable_by_a_host

INVALID_ENVIRONMENT, UNDECODABLE, INVALID_CONFIGURATION, TRY_AGAIN, NOT_AVAILABLE = 4, 6, 7, 11, 50  # CNI 1.1.0, "Error"
CNI_VERSION = "1.0.0"  # of errors that are told before the configuration is read
VALID = "cni.dev/valid-attachments"
_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){2}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_IFNAME = re.compile(r"[^\s/:\x00-\x1f\x7f]{1,15}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")  # as facts/pods.py reads it


class CniError(Exception):
    """What the runtime is told, and shows as an event of the pod."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details

    def told(self, version: str) -> bytes:
        said = {"cniVersion": version, "code": self.code, "msg": self.message} | ({"details": self.details} if self.details else {})
        return json.dumps(said).encode() + b"\n"


class Request(NamedTuple):
    """One call of the plugin. Nothing but its shape is checked yet."""

    command: str
    variables: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def version(self) -> str:
        said = self.config.get("cniVersion")
        return said if isinstance(said, str) and _VERSION.fullmatch(said) else CNI_VERSION

    @property
    def container(self) -> str:
        return self._variable("CNI_CONTAINERID", _CONTAINER)

    @property
    def ifname(self) -> str:
        return self._variable("CNI_IFNAME", _IFNAME)

    def _variable(self, name: str, allowed: re.Pattern[str]) -> str:
        """Raises CniError."""
        value = self.variables.get(name, "")
        if not allowed.fullmatch(value) or value in (".", ".."):
            raise CniError(INVALID_ENVIRONMENT, f"{name}: {value[:80]!r} is none")
        return value

    @property
    def netns(self) -> tuple[str, Identity]:
        """Name (or path) of the pod's namespace, and what it is known by. Raises CniError."""
        path = self.variables.get("CNI_NETNS", "")
        try:
            found = pod_namespace(path)
        except (ObservationFailed, ValueError):
            found = None
        if found is None:
            raise CniError(
                INVALID_ENVIRONMENT,
                f"CNI_NETNS: {path[:80]!r} is no network namespace of a pod, as plumbline sees it",
                "where the daemon runs in a container, it needs the host's /run/netns mounted, with mountPropagation: HostToContainer",
            )
        return found

    @property
    def pod(self) -> tuple[str, str] | None:
        """ "default/a" and its uid ("" where the runtime does not say); None for what is no Kubernetes pod. Raises CniError."""
        said = dict(part.partition("=")[::2] for part in self.variables.get("CNI_ARGS", "").split(";"))
        names = {field: said.get(f"K8S_POD_{field}", "") for field in ("NAMESPACE", "NAME", "UID")}
        if not names["NAMESPACE"] and not names["NAME"]:
            return None
        for field, text in names.items():
            if not _NAME.fullmatch(text) and (text or field != "UID"):
                raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: K8S_POD_{field}: {text[:80]!r} is none; allowed: a-z 0-9 - and dots")
        return f"{names['NAMESPACE']}/{names['NAME']}", names["UID"]

    @property
    def result(self) -> Mapping[str, Any]:
        """What the plugins before this one have done. Raises CniError."""
        found = self.config.get("prevResult")
        if not isinstance(found, Mapping):
            raise CniError(
                INVALID_CONFIGURATION,
                "plumbline is a chained plugin: it needs the result of one that made the pod's interface (prevResult)",
                "put it behind that one in the network configuration list; plumbline writes such a list with `cni: {chained: true}`",
            )
        return found

    @property
    def addresses(self) -> tuple[str, ...]:
        """That the pod got, the first of each family. Raises CniError."""
        interfaces = _listed(self.result, "interfaces")
        found: dict[bool, str] = {}
        for one in _listed(self.result, "ips"):
            index, text = one.get("interface"), str(one.get("address", "")).partition("/")[0]
            if type(index) is int and not (0 <= index < len(interfaces) and interfaces[index].get("sandbox")):
                continue  # the host's end
            try:
                address = normal_address(text)
            except ValueError:
                address = ""
            if not address or not usable_by_a_host(address):
                raise CniError(INVALID_CONFIGURATION, f"prevResult: ips: {text[:80]!r} is no address of a pod")
            found.setdefault(":" in address, address)
        return tuple(found.values())

    @property
    def attachments(self) -> frozenset[tuple[str, str]] | None:
        """What GC is to leave: container and interface; None where it is not said, or none at all. Raises CniError."""
        said = self.config.get(VALID)
        if said is None or said == []:
            return None
        try:
            if not isinstance(said, list):
                raise TypeError(said)
            return frozenset((_text(one["containerID"]), _text(one["ifname"])) for one in said)
        except (TypeError, KeyError, ValueError):
            raise CniError(INVALID_CONFIGURATION, f"{VALID} is no list of containerID and ifname; nothing is removed") from None


def read_request(environment: bytes, body: bytes) -> Request:
    """Raises CniError."""
    try:
        words = environment.decode().split("\0")
    except UnicodeDecodeError:
        raise CniError(INVALID_ENVIRONMENT, "the CNI_ variables are no UTF-8") from None
    variables = dict(word.partition("=")[::2] for word in words if word)
    command = variables.get("CNI_COMMAND", "")
    try:
        config = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise CniError(UNDECODABLE, "standard input is no JSON that a network configuration could be") from None
    if not isinstance(config, dict):
        raise CniError(UNDECODABLE, "standard input is no network configuration: it is no JSON object")
    return Request(command, variables, config)


def printed(result: Mapping[str, Any]) -> bytes:
    """A result as it came. Raises CniError."""
    try:
        return json.dumps(result, allow_nan=False).encode() + b"\n"
    except (ValueError, RecursionError):
        raise CniError(UNDECODABLE, "prevResult holds what JSON has no way to write") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def _listed(result: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """Raises CniError."""
    found = result.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise CniError(INVALID_CONFIGURATION, f"prevResult: {name} is no list of objects")
    return found
