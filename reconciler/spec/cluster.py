"""Sections `cluster` and `rollout`: how the API is reached, and how changes come to many nodes."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from reconciler.spec.section import Section, one_or_many

_SHARE = re.compile(r"\d{1,3}%")


def _server(value: str) -> str:
    """https://HOST:PORT, and nothing behind it."""
    try:
        parts = urlsplit(value)
        right = parts.scheme == "https" and parts.hostname and not (parts.path.strip("/") or parts.query or parts.username)
        right = right and (parts.port or 443) > 0
    except ValueError:
        right = False
    if not right:
        raise ValueError(
            f"{value!r} is no API server; allowed: https://10.0.1.11:6443, https://api.example:6443, https://[fd00:1::11]:6443"
        )
    return value.rstrip("/")


def _count(value: int | str) -> int | str:
    """A number of nodes, or a share of them."""
    if isinstance(value, str) and (not _SHARE.fullmatch(value) or not 1 <= int(value[:-1]) <= 100):
        raise ValueError(f"{value!r} is no number of nodes; allowed: 1 or more, or 1% to 100%")
    if isinstance(value, int) and value < 1:
        raise ValueError(f"{value} is no number of nodes; allowed: 1 or more, or 1% to 100%")
    return value


class Cluster(Section):
    """The Kubernetes API, reached without what this network provides: a node that is still to be repaired reaches it too."""

    api_servers: Annotated[
        list[Annotated[str, AfterValidator(_server)]], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])
    ] = Field(default_factory=list)


class Rollout(Section):
    """How a change that disturbs traffic comes to the nodes of a cluster. Needs the API."""

    max_unavailable: Annotated[int | str, AfterValidator(_count)] | None = None  # nodes at once; none: all of them at the same time
    allow_partition: bool = False  # nodes with the old and with the new value do not hear each other while the change goes round

    def at_once(self, nodes: int) -> int:
        """How many of so many nodes; 0: no limit."""
        said = self.max_unavailable
        if said is None:
            return 0
        return said if isinstance(said, int) else max(1, nodes * int(said[:-1]) // 100)
