"""Section `confirm`: how a change that can cut a node off is judged."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from reconciler.spec.section import Section
from reconciler.wire.ip import packed

_DURATION = re.compile(r"(\d{1,4})(s|m)")
_NODE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _duration(value: str) -> str:
    """A time with its unit, 5 s to an hour."""
    match = _DURATION.fullmatch(value)
    if match is None or not 5 <= seconds_of(value) <= 3600:
        raise ValueError(f"{value!r} is no time that a change can be on trial; allowed: 5s to 3600s, or 1m to 60m")
    return value


def seconds_of(duration: str) -> float:
    """The seconds of a duration that was checked."""
    number, unit = duration[:-1], duration[-1]
    return float(number) * (60 if unit == "m" else 1)


def split_target(value: str) -> tuple[str, int]:
    """Address and TCP port (0: none) of what has to answer. Raises ValueError where it is neither."""
    host, port = value, ""
    if value.startswith("["):
        host, _, port = value[1:].partition("]")
        port = port.removeprefix(":")
    elif value.count(":") == 1:
        host, port = value.split(":")
    packed(host)
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{value!r}: a port is 1 to 65535")
    return host, int(port or 0)


def _target(value: str) -> str:
    """A node's name, an address, or an address and a TCP port."""
    try:
        split_target(value)
    except ValueError:
        if not _NODE.fullmatch(value) or len(value) > 253:
            raise ValueError(
                f"{value!r} is nothing that can answer; allowed: a node's name, 10.0.0.1, 10.0.0.1:6443, 2001:db8::1, [2001:db8::1]:6443"
            ) from None
    return value


class Confirm(Section):
    """A change of the uplink, its addresses or the default route stays only if what answered before answers again."""

    timeout: Annotated[str, AfterValidator(_duration)] = "20s"  # enough for a neighbour, and for the port of a switch
    probes: list[Annotated[str, AfterValidator(_target)]] = Field(default_factory=list)  # besides the default gateways

    @property
    def seconds(self) -> float:
        return seconds_of(self.timeout)
