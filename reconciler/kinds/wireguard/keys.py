"""Keys of WireGuard as network.yaml may hold them: public ones as text, secret ones as the name of a file. Never a secret itself."""

from __future__ import annotations

import re
from typing import Annotated

from reconciler.kinds.spelling import Text, word

_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")  # 32 bytes in base64


def public_key(text: str) -> str:
    """A Curve25519 public key, as `wg pubkey` prints it."""
    if not _KEY.fullmatch(text):
        raise ValueError(f"found {text!r}; allowed: a public key of 32 bytes in base64, as `wg pubkey` prints it")
    return text


def secret_file(text: str) -> str:
    """The absolute path of a file on the node that holds a key. What looks like a key is not repeated."""
    if _KEY.fullmatch(text):
        raise ValueError("found a key; allowed: the path of a file on the node that holds it (a secret does not belong in network.yaml)")
    if not text.startswith("/") or "/../" in text:
        raise ValueError(f"found {text!r}; allowed: the absolute path of a file on the node that holds the key")
    return word(text)


PublicKey = Annotated[str, Text(public_key)]
SecretFile = Annotated[str, Text(secret_file)]
