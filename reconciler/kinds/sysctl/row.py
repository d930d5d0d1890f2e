"""One kernel parameter (sysctl(8), /proc/sys)."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin


class SysctlKey(NamedTuple):
    """A name as sysctl(8) prints it: "net.ipv4.conf.eth0/100.rp_filter" is that of the device eth0.100."""

    netns: str
    name: str


class Sysctl(NamedTuple):
    """A value of one word ("1"), or of several ("4096", "131072", "6291456"); `sysctl()` splits."""

    key: SysctlKey
    value: str | tuple[str, ...]
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
