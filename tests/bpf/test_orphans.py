"""UDP sockets of backends that are gone are ended, and nobody else's."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from reconciler.kernel import orphans
from reconciler.kernel.netns import entered
from reconciler.kernel.orphans import end_orphans
from tests.bpf.ends import WAYS, Backends, Way, add_addresses, backends, client
from tests.bpf.node import TCP, UDP, Endpoint, Node, front, namespace_cookie
from tests.namespaces import fresh_namespace

pytestmark = pytest.mark.kernel
PORT = 80
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


@pytest.fixture
def here(node: Node) -> Node:
    add_addresses()
    return node


@contextmanager
def connected(way: Way, there: Backends, wanted: set[Endpoint], proto: int = UDP) -> Iterator[dict[Endpoint, socket.socket]]:
    """A connected socket for each of these backends."""
    with ExitStack() as held:
        found: dict[Endpoint, socket.socket] = {}
        while found.keys() != wanted:
            with client(way, proto) as one:
                one.connect((way.written(way.service), PORT))
                if proto == UDP:
                    one.send(b"?")
                asked = there.asked()
                if asked in wanted - found.keys():
                    found[asked] = held.enter_context(one.dup())
        yield found


def maps(node: Node) -> str:
    return str(node.programs.root / "maps")


def alive(one: socket.socket) -> bool:
    """A socket that was ended says so once (ECONNABORTED), and is connected to nobody."""
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def left(node: Node, way: Way, number: int, *there: Endpoint) -> None:
    """The list has these backends from here on."""
    for slot in range(3):
        with suppress(FileNotFoundError):
            del node.maps["pl_back_1"][struct.pack("=II", number, slot)]
    node.service(way.service, PORT, UDP, there, number=number)


@EVERY_WAY
def test_those_of_the_backend_that_is_gone_and_no_others(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, UDP, way.backends)
    here.service(way.service, PORT, TCP, way.backends)
    gone, *stay = way.backends
    with backends((UDP, way.backends), (TCP, way.backends)) as (udp, tcp), ExitStack() as held:
        speaking = held.enter_context(connected(way, udp, {*way.backends}))
        streams = held.enter_context(connected(way, tcp, {gone}, TCP))
        bystander = held.enter_context(client(way, UDP))
        bystander.connect((way.written(gone.address), gone.port))  # without a service in between: it knows whom it means
        assert end_orphans(maps(here), (), namespace_cookie()) == (0, ())
        left(here, way, number, *stay)
        assert end_orphans(maps(here), (), namespace_cookie()) == (1, ())
        assert speaking[gone].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
        assert all(alive(speaking[one]) for one in stay)
        assert alive(streams[gone])
        assert alive(bystander)
        assert end_orphans(maps(here), (), namespace_cookie()) == (0, ()), "what has ended is forgotten"
        del here.maps["pl_front_1"][front(way.service, PORT, UDP)]
        assert end_orphans(maps(here), (), namespace_cookie()) == (2, ()), "the service itself is gone"


def test_in_the_namespaces_of_pods_and_where_they_cannot_be_entered(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    way = WAYS[0]
    number = here.service(way.service, PORT, UDP, way.backends[:1])
    with fresh_namespace() as pod:
        add_addresses()
        speaking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        speaking.connect((way.service, PORT))
        with speaking, entered(here.netns):
            left(here, way, number)
            with monkeypatch.context() as patched:
                patched.setattr(orphans, "inside", lambda netns, call: call() if not netns else barred())
                found = end_orphans(maps(here), (pod,), namespace_cookie())
            assert found.sockets == 0
            assert "CAP_SYS_ADMIN" in found.left[0]
            assert alive(speaking)
            assert end_orphans(maps(here), (pod,), namespace_cookie()) == (1, ())
            assert not alive(speaking)


def barred() -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")
