"""Asking a running daemon over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

WAIT = 5.0  # seconds
MAX_BYTES = 16 << 20


class NoAnswer(Exception):
    """No daemon answers there; says what to do."""


def fetch_status(url: str) -> dict[str, Any]:
    """What /status says. Raises NoAnswer. `url`: http://HOST:PORT; no proxy is asked."""
    said = fetch(url, "/status")
    if not isinstance(said, dict) or "ready" not in said:
        raise NoAnswer(f"{url.rstrip('/')}/status: something answers that is not plumbline")
    return said


def fetch(url: str, path: str) -> Any:
    """What a path of a daemon says as JSON. Raises NoAnswer."""
    address = f"{url.rstrip('/')}{path}"
    if not address.startswith("http://"):
        raise NoAnswer(f"{url}: write http://HOST:PORT; a daemon says with --listen where it answers")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=WAIT) as answer:
            return json.loads(answer.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        raise NoAnswer(f"{address}: {error.code} {error.reason}; is it plumbline that listens there?") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise NoAnswer(
            f"{address}: {getattr(why, 'strerror', None) or why}; "
            "is the daemon running (plumbline run), and does it listen there (--listen)?"
        ) from None
