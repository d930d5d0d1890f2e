"""What a person confirms: the content that a cluster's nodes are made of, by one digest that is the same on every node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def content_digest(spec: str, name: str, nodes: Iterable[str]) -> str:
    """Of the digest of the spec's text, its name, and which nodes there are, whatever their labels and addresses."""
    total = hashlib.sha256(f"{spec}\n{name}\n".encode())
    total.update("\n".join(sorted(nodes)).encode())
    return total.hexdigest()
