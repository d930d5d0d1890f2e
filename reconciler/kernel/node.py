"""The node this process runs on, as the engine's Reader and Executor."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from reconciler.engine.model import Action, StagedFile
from reconciler.engine.reader import Dump, ObservationFailed, Place
from reconciler.engine.round import Failure
from reconciler.engine.rows import Rows
from reconciler.kernel import bpf, bpf_lines
from reconciler.kernel.bpf_attached import attached, cgroups
from reconciler.kernel.bpf_maps import PinnedMaps
from reconciler.kernel.decoded import Decoded, after
from reconciler.kernel.netlink import RouteSocket
from reconciler.kernel.nfnetlink import Generation, NetfilterSocket
from reconciler.kernel.processes import TIMEOUT, Processes, Waiting
from reconciler.kernel.spaces import Spaces
from reconciler.kernel.tools import read_tool, run_actions
from reconciler.wire import netlink as wire
from reconciler.wire.bpf import Attached, Pinned, ProgramInfo
from reconciler.wire.bulk import Ages, payloads

T = TypeVar("T")

# ifinfomsg, then IFLA_EXT_MASK (29) = RTEXT_FILTER_SKIP_STATS (8): counters change by themselves (if_link.h, rtnetlink.h)
NAMES_ONLY = Dump(wire.RTM_GETLINK, bytes(16) + struct.pack("=HHI", 8, 29, 8))


class KernelNode:
    """Asks and changes the kernel, in the namespace of this process and by name in others.

    timeout: seconds after which a tool counts as hanging, and is stopped.
    objects: the only folder that programs are loaded from.
    """

    def __init__(self, *, timeout: float = TIMEOUT, objects: str = bpf_lines.PACKAGE) -> None:
        self._processes = Processes(timeout)
        self._socket: RouteSocket | None = None
        self._netfilter: NetfilterSocket | None = None
        self._rulesets: dict[tuple[str, Hashable], tuple[Generation, Any]] = {}
        self._remembered: dict[tuple[str, Dump, object], tuple[tuple[Place, tuple[bytes, ...]], Any]] = {}
        self._messages: dict[tuple[str, Dump, object], Decoded[Any]] = {}
        self._spaces = Spaces()
        self._pins = bpf.Pins()
        self.maps = PinnedMaps()
        self._runners = bpf_lines.runners(self.maps, objects)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._netfilter is not None:
            self._netfilter.close()
            self._netfilter = None

    def end(self) -> None:
        """This process was asked to end, from any thread: a tool that hangs is no longer waited for as long as else."""
        self._processes.end()

    @property
    def waiting(self) -> Waiting | None:
        """The tool that takes longer than it should, as seen from any thread."""
        return self._processes.waiting

    # -- Reader ----------------------------------------------------------------------------

    def visit(self, netns: Sequence[str]) -> AbstractContextManager[Mapping[str, str]]:
        gone = self._spaces.forget_gone()
        if gone:
            self._remembered = {slot: found for slot, found in self._remembered.items() if slot[0] not in gone}
            self._messages = {slot: found for slot, found in self._messages.items() if slot[0] not in gone}
            self._rulesets = {slot: found for slot, found in self._rulesets.items() if slot[0] not in gone}
        return self._spaces.visit(netns)

    def dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        if not netns:
            if self._socket is None:
                self._socket = RouteSocket()
            try:
                return self._socket.dump(request)
            except ObservationFailed:
                self.close()  # whatever is left unread in it must not answer the next question
                raise
        visited = self._spaces.socket(netns)
        if visited is None:
            return self._spaces.inside(netns, lambda: _dump_once(request))
        try:
            return visited.dump(request)
        except ObservationFailed:
            self._spaces.close(netns)
            raise

    def decoded(self, netns: str, request: Dump, decode: Callable[[Place, tuple[bytes, ...]], T]) -> T:
        place = Place(netns, self.interfaces(netns))
        buffers = self.dump(netns, request)
        stable = tuple(_without_sequence(buffer) for buffer in buffers)
        slot = (netns, request, decode)
        before = self._remembered.get(slot)
        if before is not None and before[0] == (place, stable):
            remembered: T = before[1]
            return remembered
        with _readable(f"netlink dump {request.type}"):
            rows = decode(place, buffers)
        self._remembered[slot] = ((place, stable), rows)
        return rows

    def rows(
        self, netns: str, request: Dump, decode: Callable[[Place, Sequence[bytes]], list[T | None]], ages: Ages | None = None
    ) -> list[T]:
        place = Place(netns, self.interfaces(netns))
        buffers = self.dump(netns, request)
        before = self._messages.get((netns, request, decode))
        with _readable(f"netlink dump {request.type}"):
            now = after(before, place, payloads(buffers, wire.answer_to(request.type), ages), decode)
        self._messages[netns, request, decode] = now
        return now.rows

    def nft_dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        return self._ask_netfilter(netns, lambda asked: asked.dump(request))

    def of_ruleset(self, netns: str, what: Hashable, ask: Callable[[], T]) -> T:
        generation = self._ask_netfilter(netns, lambda asked: asked.generation())  # before asking: a change meanwhile is seen next time
        before = self._rulesets.get((netns, what))
        if before is not None and before[0] == generation:
            remembered: T = before[1]
            return remembered
        with _readable(f"nftables ({what})"):
            found = ask()
        if generation is not None:
            self._rulesets[netns, what] = (generation, found)
        return found

    def _ask_netfilter(self, netns: str, ask: Callable[[NetfilterSocket], T]) -> T:
        if not netns:
            if self._netfilter is None:
                self._netfilter = NetfilterSocket()
            try:
                return ask(self._netfilter)
            except ObservationFailed:
                self.close()
                raise
        visited = self._spaces.netfilter(netns)
        if visited is None:
            return self._spaces.inside(netns, lambda: _ask_once(ask))
        try:
            return ask(visited)
        except ObservationFailed:
            self._spaces.close(netns)
            raise

    def interfaces(self, netns: str) -> Mapping[int, str]:
        return self._spaces.interfaces(netns, lambda: self._ask_interfaces(netns))

    def _ask_interfaces(self, netns: str) -> Mapping[int, str]:
        with _readable("the list of interfaces"):
            return _names(self.dump(netns, NAMES_ONLY))

    def tool(self, netns: str, words: Sequence[str]) -> str:
        return read_tool(netns, words, self._spaces.known(netns), self._processes)

    def read(self, netns: str, path: str) -> bytes | None:
        return self._spaces.inside(netns, lambda: _read(path))

    def names(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(path)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ObservationFailed(f"{path}: {error.strerror}") from error

    def on_bpffs(self, path: str) -> bool:
        return bpf.is_bpffs(path)

    def pinned(self, folder: str) -> Mapping[str, Pinned]:
        with _readable(folder):
            return self._pins.of(folder)

    def map_rows(
        self,
        paths: Sequence[str],
        decode: Callable[[str, Sequence[bytes], Sequence[bytes | str]], Sequence[T]],
        patience: float,
        programs: Mapping[int, str],
    ) -> Rows:
        return self.maps.rows(paths, decode, patience, programs)

    def attached(self, cgroup: str, hooks: Sequence[str]) -> Sequence[Attached]:
        return attached(cgroup, hooks)

    def cgroups(self) -> tuple[str, ...]:
        return cgroups()

    def program(self, number: int) -> ProgramInfo | None:
        return bpf.program(number)

    # -- Executor --------------------------------------------------------------------------

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        if not any(action.files for action in actions):
            return run_actions(actions, self._spaces.known, self._processes, self._runners)
        ready: list[Action] = []
        staged: list[Failure | None] = []
        for action in actions:
            failure = next((why for file in action.files if (why := _stage(file))), None)
            staged.append(failure)
            if failure is None:
                ready.append(action)
        done = iter(run_actions(ready, self._spaces.known, self._processes, self._runners))
        return [failure if failure is not None else next(done) for failure in staged]


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Bytes that are not what the layout says are no answer."""
    try:
        yield
    except wire.UNREADABLE as error:
        raise ObservationFailed(f"{what} cannot be read: {error}") from error


def _dump_once(request: Dump) -> tuple[bytes, ...]:
    """An open socket pins a dead pod's namespace, so it lives for one question."""
    with RouteSocket() as asked:
        return asked.dump(request)


def _ask_once(ask: Callable[[NetfilterSocket], T]) -> T:
    with NetfilterSocket() as asked:
        return ask(asked)


def _names(buffers: tuple[bytes, ...]) -> dict[int, str]:
    ifname = 3  # IFLA_IFNAME, include/uapi/linux/if_link.h; ifinfomsg is 16 bytes, the index at 4
    return {
        wire.s32(buffer[start + 4 : start + 8]): wire.text(wire.attributes(buffer, start + 16, end).get(ifname, b""))
        for buffer, start, end in wire.messages(buffers, wire.RTM_NEWLINK, 16)
    }


def _without_sequence(buffer: bytes) -> bytes:
    """Sequence number and port id of the first header differ from dump to dump; so they do in all others."""
    sequence = buffer[8:16]
    return buffer.replace(sequence, bytes(8))


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ObservationFailed(f"{path}: {error.strerror}") from error


def _stage(file: StagedFile) -> Failure | None:
    """Write content to its staging path, on the disk before anything names it."""
    target = Path(file.path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".plumbline-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(file.content)
                stream.flush()
                os.fsync(stream.fileno())
                os.fchmod(stream.fileno(), file.mode)
            os.rename(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        return Failure(f"{file.path}: {error.strerror}")
    return None
