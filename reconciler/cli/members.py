"""Members of segments as the facts have them and as the kernel has them, for `inspect nets` and `list pods`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli.inputs import Inputs
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.reader import ObservationFailed
from reconciler.intents.membership import Member, Members, members

if TYPE_CHECKING:  # what a verb does not need is not imported
    from reconciler.kernel.node import KernelNode

FLOOD = "00:00:00:00:00:00"
WRONG = "!"  # how a line begins that tells of something that is not as it should be


def members_of(inputs: Inputs) -> Members:
    """All members of all segments. Raises CannotGoOn where nobody says which pods there are."""
    if inputs.facts.pods is None:
        raise CannotGoOn(["which pods there are is not known; give --facts FILE, with what `kubectl get pods -A -o yaml` prints"])
    return members(inputs.loaded.spec, inputs.facts.pods)


class Live:
    """The members' namespaces on this host, asked while the `with` block of `live` lasts."""

    def __init__(self, io: KernelNode, namespaces: Mapping[str, str]) -> None:
        self._io, self._namespaces = io, namespaces

    def here(self, member: Member) -> bool:
        """Whether the member's namespace is on this host."""
        return member.pod.key in self._namespaces

    def tool(self, member: Member, *words: str) -> tuple[str, ...]:
        """The lines that a read-only tool prints in the member's namespace; none where its device is not there."""
        try:
            return tuple(self._io.tool(self._namespaces[member.pod.key], words).splitlines())
        except ObservationFailed:
            return ()

    def addresses(self, member: Member) -> tuple[str, ...]:
        """What the member's device has besides link-local addresses."""
        from reconciler.kinds.address.decode import REQUEST, decode

        try:
            found = self._io.decoded(self._namespaces[member.pod.key], REQUEST, decode)
        except ObservationFailed:
            return ()
        mine = [row.key.prefix for row in (*found.stated, *found.automatic) if row.key.dev == member.name]
        return tuple(prefix for prefix in mine if not prefix.startswith("fe80:"))

    def has_device(self, member: Member) -> bool:
        """Whether the member's device is there."""
        try:
            return member.name in self._io.interfaces(self._namespaces[member.pod.key]).values()
        except ObservationFailed:
            return False


@contextmanager
def live(inputs: Inputs) -> Iterator[Live]:
    """What this host can tell of the pods that are on it."""
    from reconciler.kernel.node import KernelNode

    io = KernelNode()
    try:
        namespaces = inputs.pod_finder("").find(inputs.facts.pods or ())
        with io.visit(sorted(set(namespaces.values()))) as absent:
            yield Live(io, {key: netns for key, netns in namespaces.items() if netns not in absent})
    finally:
        io.close()


def should_be(found: Members, member: Member) -> tuple[str, ...]:
    """The flood entries that a member ought to have, as `bridge fdb` prints them."""
    return tuple(f"{FLOOD} dst {peer} self permanent" for peer in found.peers(member))


def differences(wanted: Sequence[str], seen: Sequence[str]) -> Iterator[str]:
    """What is wrong with a member's entries; learned ones come and go by themselves."""
    stated = [" ".join(line.split()) for line in seen if line.startswith(FLOOD)]
    yield from (f"{WRONG} missing: {line}" for line in wanted if line not in stated)
    yield from (f"{WRONG} stale: {line}" for line in stated if line not in wanted)
