"""The options of kube-vxlan-controller's annotation, with its words and meanings. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

from reconciler.facts.annotations import Options
from reconciler.spec.segments import PodSegment, SegmentRoute, destination, gateway, interface_address
from reconciler.spec.values import interface_name

_ROUTE = re.compile(r"(default|[^/]+?(?:/\d+)?):([0-9A-Fa-f.:]+)")
_ROUTE_IPV6 = re.compile(r"([0-9A-Fa-f:]+/\d+):([0-9A-Fa-f:]+)")


class BadOption(Exception):
    """An option that means nothing; says what is allowed."""


def said_by_options(options: Options) -> PodSegment:
    """What the options say; a later one of the same name has won already. Raises BadOption."""
    said: dict[str, Any] = {}
    for name, value in options.items():
        reader = _READERS.get(name)
        if reader is None:
            guess = difflib.get_close_matches(name, _READERS, 1)
            hint = f"did you mean {guess[0]}?" if guess else f"allowed: {', '.join(_READERS)}"
            raise BadOption(f"unknown option {name!r}; {hint} (what begins with a blank is read as options, not as a network)")
        try:
            said |= reader(value)
        except ValueError as error:
            raise BadOption(f"{name}: {error}") from None
    return PodSegment(**said)


def _type(value: str | bool) -> dict[str, Any]:
    if value != "vxlan":
        raise ValueError(f"{_shown(value)}; allowed: vxlan")
    return {}


def _id(value: str | bool) -> dict[str, Any]:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 16777215:
        raise ValueError(f"{_shown(value)} is no VNI; allowed: 1 to 16777215")
    return {"vni": int(value)}


def _up(value: str | bool) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise ValueError(f"found {_shown(value)}; allowed: up, up=true, up=false")
    return {"up": value}


def _ip(value: str | bool) -> dict[str, Any]:
    return {"ip": [interface_address(_text(value))]}


def _route(value: str | bool) -> dict[str, Any]:
    text = _text(value)
    parts = _ROUTE_IPV6.fullmatch(text) or _ROUTE.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is no route; allowed: NETWORK:GATEWAY, 192.168.12.0/29:192.168.11.1")
    return {"routes": [SegmentRoute(to=destination(parts[1]), via=gateway(parts[2]))]}


def _name(value: str | bool) -> dict[str, Any]:
    return {"name": interface_name(_text(value))}


def _dev(value: str | bool) -> dict[str, Any]:
    return {"device": interface_name(_text(value))}


def _text(value: str | bool) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("needs a value: NAME=VALUE, without blanks around the =")
    return value


def _shown(value: str | bool) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()


_READERS: dict[str, Callable[[str | bool], dict[str, Any]]] = {
    "type": _type, "id": _id, "name": _name, "dev": _dev, "up": _up, "ip": _ip, "route": _route,
}  # fmt: skip
