"""The page at /: one file without a build, that reads this daemon's own JSON and may do nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

TYPE = "text/html; charset=utf-8"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class Page(NamedTuple):
    """The file, and what a browser may do with it."""

    body: bytes
    policy: str  # Content-Security-Policy (https://www.w3.org/TR/CSP3/)


@cache
def page() -> Page:
    """Its own script and style run, told by their hashes; it asks its own origin, and nothing else is loaded, framed or sent."""
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    hashes = {"script": "", "style": ""}
    for name, content in _INLINE.findall(text):
        hashes[name] += f" 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    rules = (
        "default-src 'none'",
        f"script-src{hashes['script']}",
        f"style-src{hashes['style']}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return Page(text.encode(), "; ".join(rules))


def rebound(host: str | None, arrived_at: str) -> str:
    """Why a request must not be answered: it came to a loopback address by somebody else's name. Empty when it may.

    A web page of another origin whose name is made to resolve to 127.0.0.1 (DNS rebinding) would else read what we
    say. Its requests carry that name; an address cannot be made to resolve to another one. `host`: the Host header
    (RFC 9110, 7.2), None where there is none, as no browser sends it.
    """
    if host is None or not ip_address(arrived_at.partition("%")[0]).is_loopback:
        return ""
    name = _name(host).lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or _is_address(name):
        return ""
    return "this address answers to localhost, 127.0.0.1 and [::1] only: a name of somebody else's leads here"


def _name(host: str) -> str:
    """Without the port, and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
