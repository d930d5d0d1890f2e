"""Load balancers for clients of some networks alone (loadBalancerSourceRanges): who is let in, and that nobody else is for a moment."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.bpf.node import TCP, UDP, Endpoint
from tests.bpf.objects import TREE, build, load, run
from tests.bpf.site import HERE, IPV4, IPV6, NO_BACKEND, NO_RANGE, Family, Site, within
from tests.bpf.talk import begin, conversation, wait_until
from tests.bpf.test_device_flows import REQUEST, Flows

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=lambda family: family.name)
PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
TARGET = 8080
CHANGES = 1000


def balanced(site: Site, family: Family) -> Endpoint:
    """An address that no machine has, routed to the node."""
    net = "203.0.113.7" if family is IPV4 else "2001:db8:203::7"
    site.ip("wire", f"route replace {net} via {family.node}")
    return Endpoint(net, 443)


def single(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


@contextmanager
def unheard(site: Site, family: Family, proto: int, front: Endpoint, source: str) -> Iterator[None]:
    """Somebody asks at the beginning and has neither been answered nor refused at the end."""
    before = site.dropped(NO_RANGE)
    with site.new_socket("client", family, proto) as asking:
        asking.bind((source, 0))
        asking.setblocking(False)
        asking.connect_ex(front)
        if proto == UDP:
            asking.send(b"?")
        wait_until(lambda: site.dropped(NO_RANGE) > before, "what was sent is counted")
        yield
        assert asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with pytest.raises(BlockingIOError if proto == UDP else OSError, match=r"temporarily|not connected"):
            asking.recv(1) if proto == UDP else asking.getpeername()


def refused(site: Site, family: Family, proto: int, front: Endpoint, source: str) -> bool:
    """Whether somebody who asks is told that there is nobody."""
    with site.new_socket("client", family, proto) as asking:
        asking.bind((source, 0))
        try:
            asking.connect(front)
            asking.send(b"?")
            asking.recv(1)
        except ConnectionRefusedError:
            return True
        return False


@pytest.mark.vm
@FAMILIES
@PROTOCOLS
def test_who_is_in_the_ranges_is_served_and_who_is_not_hears_nothing(site: Site, family: Family, proto: int) -> None:
    front, backend = balanced(site, family), Endpoint(family.far[0], TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), proto, [backend])
    site.gate(front, proto, 77, [single(family.client)], number)
    with (
        unheard(site, family, proto, front, family.second_client),
        conversation(site, family, proto, front, backend, source=Endpoint(family.client, 0)) as talk,
    ):
        talk.in_pieces()
        talk.ask(b"x" * 4000)
        talk.answer(b"y" * 4000)
    assert site.all_dropped().keys() == {NO_RANGE}
    assert site.counted(number)[0] == 1


OPEN, CLOSED = True, False


@pytest.mark.parametrize(
    ("four", "six", "client", "second"),
    [
        (["0.0.0.0/0"], ["::/0"], OPEN, OPEN),
        ([], [], CLOSED, CLOSED),
        (["198.51.100.0/24"], ["2001:db8:100::/64"], OPEN, OPEN),
        (["198.51.100.10/31"], ["2001:db8:100::10/127"], OPEN, OPEN),
        (["198.51.100.11/32"], ["2001:db8:100::11/128"], CLOSED, OPEN),
        (["198.51.101.0/24", "0.0.0.0/5"], ["2001:db8:101::/64", "::/3", "2001:db8:0::/65"], CLOSED, CLOSED),
        (["198.51.100.10/32", "198.51.101.0/24"], ["2001:db8:100::10/128", "fd00::/8"], OPEN, CLOSED),
        (["198.0.0.0/8", "198.51.100.11/32", "198.51.0.0/16"], ["2001:db8::/32", "2001:db8:100::11/128"], OPEN, OPEN),
        (["198.51.100.12/30", "198.51.100.8/31", "198.51.100.11/32"], ["2001:db8:100::12/127", "2001:db8:100::11/128"], CLOSED, OPEN),
    ],
)
@FAMILIES
def test_ranges_of_every_length(site: Site, family: Family, four: Sequence[str], six: Sequence[str], client: bool, second: bool) -> None:
    front, backend = balanced(site, family), Endpoint(family.near, TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), UDP, [backend], here=True)
    site.gate(front, UDP, 77, four if family is IPV4 else six, number)
    site.gate(Endpoint(front.address, 444), UDP, 78, ["0.0.0.0/0", "::/0"], number)  # ranges of another front are no matter
    for address, let_in in ((family.client, client), (family.second_client, second)):
        if let_in:
            with conversation(site, family, UDP, front, backend, machine="poda", source=Endpoint(address, 0)) as talk:
                assert talk.peer.address == address
        else:
            with unheard(site, family, UDP, front, address):
                pass


@FAMILIES
@PROTOCOLS
def test_ranges_are_of_one_port_and_protocol_and_address(site: Site, family: Family, proto: int) -> None:
    """The other front of the same service is everybody's: a node port."""
    front, backend, node_port = balanced(site, family), Endpoint(family.far[0], TARGET), Endpoint(family.node, 30080)
    number = site.service(node_port, proto, [backend])
    site.gate(front, proto, 77, [], number)
    with conversation(site, family, proto, node_port, backend) as talk:
        talk.ask(b"x")
    with unheard(site, family, proto, front, family.client):
        pass


@PROTOCOLS
def test_what_is_not_there_lets_nobody_in(site: Site, proto: int) -> None:
    """A front whose ranges, or what is behind them, have not been written or were lost."""
    front, backend = balanced(site, IPV4), Endpoint(IPV4.far[0], TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), proto, [backend])
    site.gate(front, proto, 77, ["0.0.0.0/0"], number)
    del site.maps["pl_range_1"][within(77, "0.0.0.0/0")]
    with unheard(site, IPV4, proto, front, IPV4.client):
        pass
    site.maps["pl_range_1"][within(77, "0.0.0.0/0")] = bytes(4)
    for key in [key for key in site.maps["pl_front_1"] if key[19] == 3]:
        del site.maps["pl_front_1"][key]
    with unheard(site, IPV4, proto, front, IPV4.client):
        pass


@FAMILIES
@PROTOCOLS
def test_without_a_backend_those_who_are_let_in_are_refused(site: Site, family: Family, proto: int) -> None:
    front = balanced(site, family)
    site.gate(front, proto, 77, [single(family.client)], 9, backends=0)
    assert refused(site, family, proto, front, family.client)
    assert site.all_dropped() == {NO_BACKEND: 1}
    with unheard(site, family, proto, front, family.second_client):
        pass


@FAMILIES
def test_a_connection_goes_on_whose_client_is_let_in_no_more(site: Site, family: Family) -> None:
    front, backend = balanced(site, family), Endpoint(family.far[0], TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), TCP, [backend])
    site.gate(front, TCP, 77, [single(family.client)], number)
    flows = Flows(site, front)
    with conversation(site, family, TCP, front, backend, source=Endpoint(family.client, 0)) as talk:
        flows.forget(REQUEST)
        talk.ask(b"its entry is made again, for it is in the ranges")
        site.gate(front, TCP, 78, [single(family.second_client)], number)
        site.forget_ranges(77)
        for _ in range(3):
            talk.ask(b"x" * 3000)
            talk.answer(b"y" * 3000)
        assert site.all_dropped() == {}
        with unheard(site, family, TCP, front, family.client):
            flows.forget(REQUEST)
            before = site.dropped(NO_RANGE)
            talk.client.send(b"its entry is not made again")
            wait_until(lambda: site.dropped(NO_RANGE) > before, "it is dropped")
    assert site.all_dropped().keys() == {NO_RANGE}


@FAMILIES
def test_a_conversation_of_datagrams_ends_when_its_client_is_let_in_no_more(site: Site, family: Family) -> None:
    """Within the second after which a flow is looked at again; and begins anew when it is let in again."""
    front, backend = balanced(site, family), Endpoint(family.far[0], TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), UDP, [backend])
    site.gate(front, UDP, 77, [single(family.client)], number)
    with site.listener("podb", family, UDP, backend) as listener, site.new_socket("client", family, UDP) as client:
        client.bind((family.client, 0))
        talk = begin(client, UDP, front, listener)
        Flows(site, front).age(2)
        talk.ask(b"looked at again, and it stays")
        assert site.counted(number)[0] == 1
        site.gate(front, UDP, 78, [single(family.second_client)], number)
        site.forget_ranges(77)
        Flows(site, front).age(2)
        client.send(b"dropped")
        wait_until(lambda: site.dropped(NO_RANGE) == 1, "it is dropped")
        talk.answer(b"what the backend still has to say arrives")
        site.gate(front, UDP, 77, [single(family.client)], number)
        client.send(b"let in")
        assert listener.recv(100) == b"let in"


@pytest.fixture(scope="module")
def slow(outside: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that wait between reading a front and looking into its ranges."""
    folder = build("device", folder=tmp_path_factory.mktemp("slow"), options=f"-Ibpf -include {TREE}/tests/bpf/slow.h")
    return load(outside.root, folder / "device.o")


@FAMILIES
@pytest.mark.parametrize("waiting", [False, True], ids=["as built", "waiting"])
def test_ranges_that_change_under_load_let_nobody_in_and_keep_nobody_out(site: Site, slow: Path, family: Family, waiting: bool) -> None:
    """One client is in all of the ranges that come and go, another one in none; each of their datagrams begins a flow."""
    front, backend = balanced(site, family), Endpoint(family.near, TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), UDP, [backend], here=True, flags=HERE)
    others = ("198.51.100.128/25", "198.51.0.0/28") if family is IPV4 else ("2001:db8:100:1::/64", "2001:db8:100::100/120")
    site.gate(front, UDP, 1000, [single(family.client)], number)
    sent = [0]

    def outsider() -> None:
        while changing.is_alive() or sent[0] < 10:
            with site.new_socket("client", family, UDP) as asking:
                asking.bind((family.second_client, 0))
                asking.sendto(b"never", front)
                sent[0] += 1

    def changes() -> None:
        for ranges in range(1001, 1001 + CHANGES):
            site.gate(front, UDP, ranges, [*others[: ranges % 3], single(family.client)], number)
            site.forget_ranges(ranges - 1)

    changing, asking = threading.Thread(target=changes), threading.Thread(target=outsider)
    with ExitStack() as held:
        listener = held.enter_context(site.listener("poda", family, UDP, backend))
        if waiting:
            site.put_programs(slow)
            held.callback(site.put_programs)
        for thread in (changing, asking):
            thread.start()
            held.callback(thread.join)
        rounds = 0
        while changing.is_alive() or rounds < 10:
            with site.new_socket("client", family, UDP) as client:
                client.bind((family.client, 0))
                client.sendto(b"always", front)
                data, sender = listener.recvfrom(100)
                assert (data, sender[0]) == (b"always", family.client)
                rounds += 1
        asking.join()
        wait_until(lambda: site.dropped(NO_RANGE) == sent[0], "all of the other one's datagrams are dropped")
    assert site.all_dropped().keys() == {NO_RANGE}


@pytest.fixture(scope="module")
def unaware(outside: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs as they were before there were ranges."""
    folder = tmp_path_factory.mktemp("unaware")
    shutil.copytree(TREE / "bpf", folder / "bpf")
    for name in ("bpf/begin.h", "bpf/device.bpf.c"):
        text = (folder / name).read_text()
        assert text.count("flags & PL_RANGED") == 1
        (folder / name).write_text(text.replace("flags & PL_RANGED", "flags & 0"))
    run(TREE / ".ci/object", folder / "bpf/device.bpf.c", folder / "device.o")
    return load(outside.root, folder / "device.o")


@FAMILIES
@PROTOCOLS
def test_programs_that_know_of_no_ranges_let_nobody_in(site: Site, unaware: Path, family: Family, proto: int) -> None:
    """For the moment of an upgrade in which the front is there and the programs are still the old ones; what has begun goes on."""
    front, backend = balanced(site, family), Endpoint(family.far[0], TARGET)
    number = site.service(Endpoint("192.0.2.99", 1), proto, [backend])
    site.gate(front, proto, 77, [single(family.client)], number)
    with conversation(site, family, proto, front, backend, source=Endpoint(family.client, 0)) as talk:
        try:
            site.put_programs(unaware)
            talk.ask(b"x")
            talk.answer(b"y")
            assert refused(site, family, proto, front, family.client)
            assert refused(site, family, proto, front, family.second_client)
        finally:
            site.put_programs()
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {NO_BACKEND: 2}
