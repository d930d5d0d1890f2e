"""One kernel parameter (sysctl(8), /proc/sys)."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.spelling import Several, Text, plain_words

_NAME = re.compile(r"net(\.[A-Za-z0-9_@/-]+)+")


def parameter(text: str) -> str:
    """A parameter of the network as sysctl(8) prints it; "net/ipv4/ip_forward" is the same with the other divider."""
    name = text.translate(str.maketrans("./", "/.")) if text.startswith("net/") else text
    if not _NAME.fullmatch(name) or any(part.replace("/", ".") in ("", ".", "..") for part in name.split(".")):
        raise ValueError(f"found {text!r}; allowed: names below net., as net.ipv4.ip_forward")
    return name


def one_value(text: str) -> str:
    """Words with single blanks between them."""
    return " ".join(plain_words(tuple(text.split())))


class SysctlKey(NamedTuple):
    """A name as sysctl(8) prints it: "net.ipv4.conf.eth0/100.rp_filter" is that of the device eth0.100."""

    netns: str
    name: Annotated[str, Text(parameter)]


class Sysctl(NamedTuple):
    """A value of one word ("1"), or of several ("4096", "131072", "6291456"); `sysctl()` splits."""

    key: SysctlKey
    value: Annotated[str, Text(one_value)] | Several
    missing: bool | None = None  # seen only: the kernel has no such name
    origin: tuple[Origin, ...] = ()


def words(value: object) -> str | tuple[str, ...]:
    """A value with its blanks normalised: numbers are divided by tabs in some files and by blanks in others."""
    if isinstance(value, tuple):
        parts = tuple(str(part) for part in value)
    elif isinstance(value, bool):
        parts = (str(int(value)),)
    else:
        parts = tuple(str(value).split())
    return parts[0] if len(parts) == 1 else parts or ""
