"""How the nodes of a cluster are, as their NodeNetworks say it: one line for every Node, also for one that says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from reconciler.cluster.publisher import NODE_NETWORKS, ROLLED_BACK
from reconciler.cluster.reflector import Reflector, Resource, Timing, end, items, key_of
from reconciler.cluster.transport import Api

NOTHING = "says nothing: does plumbline run there?"


class Standing(NamedTuple):
    """What one node says of itself."""

    node: str
    ready: bool = False
    digest: str = ""  # of the network.yaml in force there
    rolled_back: str = ""  # the beginning of the digest of one that it had to undo
    drift: int = 0  # rows that others changed since its daemon's start
    since: str = ""  # RFC 3339: since when it is ready, or not
    why: str = NOTHING  # not ready

    def has(self, digest: str) -> bool:
        """Whether that network.yaml is in place there, and nothing is left to do."""
        return self.ready and bool(self.digest) and self.digest.startswith(digest)

    def undid(self, digest: str) -> bool:
        return bool(self.rolled_back) and digest.startswith(self.rolled_back[: len(digest)])


def standing(thing: Mapping[str, Any]) -> Standing:
    """One NodeNetwork."""
    status = thing.get("status") or {}
    ready: Mapping[str, Any] = next((one for one in status.get("conditions") or () if one.get("type") == "Ready"), {})
    return Standing(
        key_of(thing),
        ready.get("status") == "True",
        str(status.get("digest") or ""),
        str((thing.get("metadata", {}).get("labels") or {}).get(ROLLED_BACK) or ""),
        int((status.get("drift") or {}).get("found") or 0),
        str(ready.get("lastTransitionTime") or ""),
        "" if ready.get("status") == "True" else str(ready.get("message") or NOTHING),
    )


class Rollcall:
    """The standing of all nodes, kept up until `close`. `selector`: labels of the Nodes that count."""

    def __init__(self, api: Api, changed: Callable[[], None], selector: str = "", timing: Timing = Timing()) -> None:
        nodes: Resource[str] = Resource("nodes", "/api/v1/nodes", key_of, labels=selector)
        words: Resource[Standing] = Resource("nodenetworks", NODE_NETWORKS, standing)
        self._nodes = Reflector(api, nodes, changed, timing=timing)
        self._words = Reflector(api, words, changed, timing=timing)
        self._nodes.start()
        self._words.start()

    @property
    def trouble(self) -> str:
        """Why nothing is known yet, or nothing new is heard."""
        return next((one.trouble for one in (self._nodes.known(), self._words.known()) if one.trouble), "")

    def standings(self) -> list[Standing] | None:
        """In the order of their names; None while the API has not told."""
        names, said = self._nodes.known().values, self._words.known().values
        return None if names is None or said is None else joined(names, said)

    def close(self) -> None:
        end((self._nodes, self._words))


def joined(names: Iterable[str], said: Iterable[Standing]) -> list[Standing]:
    known = {one.node: one for one in said}
    return [known.get(name, Standing(name)) for name in sorted(names)]


def rollcall(api: Api) -> list[Standing]:
    """Once, without watching. Raises Trouble."""
    names = [key_of(thing) for thing in items(api, "/api/v1/nodes")]
    return joined(names, (standing(thing) for thing in items(api, NODE_NETWORKS)))
