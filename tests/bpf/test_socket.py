"""Services at the socket: who is reached, and who is named."""

from __future__ import annotations

import ctypes
import socket
import struct

import pytest

from tests.bpf.ends import IPV4, IPV6, WAYS, Way, add_addresses, add_ipv6, backends, client
from tests.bpf.node import LOOPBACK, NO_BACKEND, TCP, UDP, Endpoint, Node, address
from tests.namespaces import fresh_namespace, sh

pytestmark = pytest.mark.kernel

PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
PORT = 80
IPV6_FLOWINFO, IPV6_FLOWLABEL_MGR, IPV6_FLOWINFO_SEND = 11, 32, 33  # include/uapi/linux/in6.h
IPPROTO_UDPLITE, IPPROTO_MPTCP = 136, 262  # include/uapi/linux/in.h
MANY = 40  # of two backends both are drawn, but for one time in 2^39


@pytest.fixture(autouse=True)
def addresses(node: Node) -> None:
    add_addresses()


def ask(way: Way, proto: int) -> None:
    """One new conversation: a connection, or a datagram of a socket that is not connected."""
    with client(way, proto) as one:
        if proto == TCP:
            one.connect((way.written(way.service), PORT))
        else:
            one.sendto(b"?", (way.written(way.service), PORT))


def disconnect(one: socket.socket) -> None:
    """connect(2) to nowhere, which Python has no words for."""
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    assert ctypes.CDLL(None).connect(one.fileno(), nowhere, len(nowhere)) == 0


@pytest.mark.vm
@EVERY_WAY
def test_a_connection_goes_to_a_backend_and_its_peer_is_the_service(node: Node, way: Way) -> None:
    number = node.service(way.service, PORT, TCP, way.backends[:1])
    with backends((TCP, way.backends[:1])) as (there,), client(way, TCP) as one:
        one.connect((way.written(way.service), PORT))
        assert there.asked(b"hello") == way.backends[0]
        assert one.recv(100) == b"hello"
        assert one.getpeername()[:2] == (way.written(way.service), PORT)
    assert node.counted(number).connections == 1


@pytest.mark.vm
@EVERY_WAY
def test_a_connected_udp_socket_is_answered_by_the_service(node: Node, way: Way) -> None:
    number = node.service(way.service, PORT, UDP, way.backends[:1])
    with backends((UDP, way.backends[:1])) as (there,), client(way, UDP) as one:
        one.connect((way.written(way.service), PORT))
        one.send(b"?")
        assert there.asked(b"hello") == way.backends[0]
        reply, sender = one.recvfrom(100)
        assert (reply, sender[:2]) == (b"hello", (way.written(way.service), PORT))
        assert one.getpeername()[:2] == (way.written(way.service), PORT)
    assert node.counted(number).connections == 1


@pytest.mark.vm
@EVERY_WAY
def test_an_unconnected_udp_socket_is_answered_by_the_service(node: Node, way: Way) -> None:
    number = node.service(way.service, PORT, UDP, way.backends[:1])
    with backends((UDP, way.backends[:1])) as (there,), client(way, UDP) as one:
        for _ in range(3):
            one.sendto(b"?", (way.written(way.service), PORT))
            assert there.asked(b"hello") == way.backends[0]
            reply, _, _, sender = one.recvmsg(100)
            assert (reply, sender[:2]) == (b"hello", (way.written(way.service), PORT))
    assert node.counted(number).connections == 1, "one conversation, whatever its datagrams"


@EVERY_WAY
def test_a_connected_udp_socket_may_name_its_service_again(node: Node, way: Way) -> None:
    """Its kernel lets in the replies of the backend that it is connected to, and no other's."""
    number = node.service(way.service, PORT, UDP, way.backends)
    with backends((UDP, way.backends)) as (there,):
        for _ in range(10):
            with client(way, UDP) as one:
                one.connect((way.written(way.service), PORT))
                one.sendto(b"?", (way.written(way.service), PORT))
                there.asked(b"hello")
                assert one.recvfrom(100)[1][:2] == (way.written(way.service), PORT)
    assert node.counted(number).connections == 10


@EVERY_WAY
def test_a_connected_udp_socket_may_send_to_another_service_as_well(node: Node, way: Way) -> None:
    node.service(way.service, PORT, UDP, way.backends[:1])
    node.service(way.service, 81, UDP, way.backends[1:2])
    with backends((UDP, way.backends[:2])) as (there,), client(way, UDP) as one:
        one.connect((way.written(way.service), PORT))
        one.sendto(b"?", (way.written(way.service), 81))
        assert there.asked() == way.backends[1]
        one.send(b"?")
        assert there.asked() == way.backends[0]


@EVERY_WAY
def test_one_socket_tells_two_services_apart_and_strangers_keep_their_names(node: Node, way: Way) -> None:
    node.service(way.service, PORT, UDP, way.backends[:1])
    node.service(way.service, 81, UDP, way.backends[1:2])
    stranger = way.backends[2]
    with backends((UDP, way.backends)) as (there,), client(way, UDP) as one:
        for port in (PORT, 81):
            one.sendto(b"?", (way.written(way.service), port))
            there.asked(str(port).encode())
        for port in (PORT, 81):
            reply, sender = one.recvfrom(100)
            assert (reply, sender[:2]) == (str(port).encode(), (way.written(way.service), port))
        one.sendto(b"?", (way.written(stranger.address), stranger.port))
        assert there.asked(b"direct") == stranger
        assert one.recvfrom(100)[1][:2] == (way.written(stranger.address), stranger.port)


@EVERY_WAY
def test_two_services_of_one_backend_are_named_as_they_were_asked(node: Node, way: Way) -> None:
    for port in (PORT, 81):
        node.service(way.service, port, UDP, way.backends[:1])
    with backends((UDP, way.backends[:1])) as (there,), client(way, UDP) as one:
        for port in (PORT, 81, PORT):
            one.sendto(b"?", (way.written(way.service), port))
            there.asked(b"!")
            assert one.recvfrom(100)[1][:2] == (way.written(way.service), port)


@EVERY_WAY
@PROTOCOLS
def test_a_list_that_has_just_become_empty_is_refused(node: Node, way: Way, proto: int) -> None:
    """Rows of its slots are removed after the service says that there are none."""
    number = node.service(way.service, PORT, proto, way.backends[:1])
    node.service(way.service, PORT, proto, [], number=number)
    with client(way, proto) as one, pytest.raises(ConnectionRefusedError):
        one.connect((way.written(way.service), PORT))


@EVERY_WAY
@PROTOCOLS
def test_nobody_there_is_refused_at_once_and_counted(node: Node, way: Way, proto: int) -> None:
    node.service(way.service, PORT, proto, [])
    with client(way, proto) as one, pytest.raises(ConnectionRefusedError):
        one.connect((way.written(way.service), PORT))
    if proto == UDP:
        with client(way, proto) as one, pytest.raises(ConnectionRefusedError):
            one.sendto(b"?", (way.written(way.service), PORT))
    assert node.dropped(NO_BACKEND) == (2 if proto == UDP else 1)


@EVERY_WAY
@PROTOCOLS
def test_a_backend_of_the_other_family_is_none(node: Node, way: Way, proto: int) -> None:
    other = IPV4 if way is IPV6 else IPV6
    node.service(way.service, PORT, proto, other.backends[:1])
    with client(way, proto) as one, pytest.raises(ConnectionRefusedError):
        one.connect((way.written(way.service), PORT))


@pytest.mark.parametrize("proto", [IPPROTO_UDPLITE, socket.IPPROTO_ICMP], ids=["udplite", "icmp"])
def test_other_protocols_are_left_alone(node: Node, proto: int) -> None:
    """Their sockets run the same hooks; even a row of theirs would change nothing."""
    sh("sysctl -qw net.ipv4.ping_group_range='0 0'")
    own, other = IPV4.backends[:2]
    node.service(own.address, own.port, proto, [other])
    try:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, proto)
    except OSError as error:
        pytest.skip(f"not in this kernel: {error}")
    with one:
        one.connect(own)
        assert one.getpeername()[0] == own.address


@pytest.mark.parametrize(("listed", "other"), [(TCP, UDP), (UDP, TCP)], ids=["tcp only", "udp only"])
@EVERY_WAY
def test_another_protocol_at_the_same_address_is_left_alone(node: Node, way: Way, listed: int, other: int) -> None:
    """So is SCTP: a row of its own it never has."""
    node.service(way.backends[0].address, PORT, listed, way.backends[1:2])
    own = Endpoint(way.backends[0].address, PORT)
    with backends((other, [own])) as (there,), client(way, other) as one:
        one.connect((way.written(own.address), PORT))
        assert one.getpeername()[:2] == (way.written(own.address), PORT)
        one.send(b"?")
        assert there.asked() == own


@EVERY_WAY
@PROTOCOLS
def test_what_is_no_service_is_left_alone(node: Node, way: Way, proto: int) -> None:
    with backends((proto, way.backends[:1])) as (there,), client(way, proto) as one:
        one.connect((way.written(way.backends[0].address), way.backends[0].port))
        assert one.getpeername()[:2] == (way.written(way.backends[0].address), way.backends[0].port)
        one.send(b"?")
        assert there.asked() == way.backends[0]
    assert not list(node.maps["pl_sockrev_1"])
    assert not list(node.maps["pl_sockpeer_1"])


@EVERY_WAY
@PROTOCOLS
def test_every_backend_gets_some_of_many(node: Node, way: Way, proto: int) -> None:
    number = node.service(way.service, PORT, proto, way.backends[:2])
    with backends((proto, way.backends[:2])) as (there,):
        asked = []
        for _ in range(MANY):
            ask(way, proto)
            asked.append(there.asked())
    assert set(asked) == set(way.backends[:2])
    assert node.counted(number).connections == MANY


@EVERY_WAY
def test_a_list_that_has_just_become_shorter_fails_nobody(node: Node, way: Way) -> None:
    """Between reading the service and reading a slot: the count is still the old one, the slot is gone."""
    number = node.service(way.service, PORT, TCP, way.backends[:2])
    del node.maps["pl_back_1"][struct.pack("=II", number, 1)]
    with backends((TCP, way.backends[:1])) as (there,):
        for _ in range(MANY):
            ask(way, TCP)
            assert there.asked() == way.backends[0]


@EVERY_WAY
@PROTOCOLS
def test_connecting_elsewhere_forgets_the_service(node: Node, way: Way, proto: int) -> None:
    """A socket that is connected again, this time to the backend itself."""
    direct = (way.written(way.backends[0].address), way.backends[0].port)
    node.service(way.service, PORT, proto, way.backends[:1])
    with backends((proto, way.backends[:1])) as (there,), client(way, proto) as one:
        one.connect((way.written(way.service), PORT))
        if proto == TCP:
            there.asked()
        disconnect(one)
        one.connect(direct)
        assert one.getpeername()[:2] == direct
        if proto == UDP:
            one.send(b"?")
            there.asked(b"hello")
            assert one.recvfrom(100)[1][:2] == direct


def test_a_server_that_is_a_backend_sees_its_clients_as_they_are(node: Node) -> None:
    node.service(IPV4.service, PORT, TCP, IPV4.backends[:1])
    with backends((TCP, IPV4.backends[:1])) as (there,), client(IPV4, TCP) as one:
        one.connect((IPV4.service, PORT))
        accepted, sender = there.socket(IPV4.backends[0]).accept()
        with accepted:
            assert accepted.getpeername() == sender == one.getsockname()


def test_the_flow_label_is_the_callers_own(node: Node) -> None:
    label = 0x12345
    node.service(IPV6.service, PORT, UDP, IPV6.backends[:1])
    with backends((UDP, IPV6.backends[:1])) as (there,), client(IPV6, UDP) as one:
        server = there.socket(IPV6.backends[0])
        server.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO, 1)
        lease = address(IPV6.service) + struct.pack("!I", label) + struct.pack("=BBHHHI", 0, 255, 1, 0, 0, 0)  # struct in6_flowlabel_req
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, lease)
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)
        one.sendto(b"?", (IPV6.service, PORT, label, 0))
        _, ancillary, _, sender = server.recvmsg(100, 100)
        assert [struct.unpack("!I", value)[0] & 0xFFFFF for _, _, value in ancillary] == [label]
        server.sendto(b"!", sender)
        assert one.recvfrom(100)[1][:2] == (IPV6.service, PORT)
        one.connect((IPV6.service, PORT, label, 0))
        assert one.getpeername() == (IPV6.service, PORT, label, 0)


def test_scopes_of_link_local_addresses_stay(node: Node) -> None:
    add_ipv6("fe80::1/64")
    scope = socket.if_nametoindex("lo")
    node.service("fe80::1", 30080, TCP, IPV6.backends[:1])
    with backends((TCP, IPV6.backends[:1])) as (there,), client(IPV6, TCP) as one:
        one.connect(("fe80::1", 30080, 0, scope))
        assert one.getpeername()[:2] == ("fe80::1", 30080)
        assert there.asked() == IPV6.backends[0]
    with client(IPV6, UDP) as server, client(IPV6, UDP) as one:
        server.bind(("fe80::1", 9000, 0, scope))
        one.sendto(b"?", ("fe80::1", 9000, 0, scope))
        server.sendto(b"!", server.recvfrom(100)[1])
        assert one.recvfrom(100) == (b"!", ("fe80::1", 9000, 0, scope))


def test_data_in_the_first_packet_asks_the_service_too(node: Node) -> None:
    """TCP Fast Open connects from within sendto(2)."""
    node.service(IPV4.service, PORT, TCP, IPV4.backends[:1])
    with backends((TCP, IPV4.backends[:1])) as (there,), client(IPV4, TCP) as one:
        one.setblocking(True)
        one.sendto(b"?", socket.MSG_FASTOPEN, (IPV4.service, PORT))
        assert one.getpeername() == (IPV4.service, PORT)
        assert there.asked() == IPV4.backends[0]


def test_multipath_tcp_reaches_a_backend(node: Node) -> None:
    """Its peer is named as the backend: the hook sees another socket than the one that connects."""
    node.service(IPV4.service, PORT, TCP, IPV4.backends[:1])
    try:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    except OSError as error:
        pytest.skip(f"no MPTCP in this kernel: {error}")
    with one, backends((TCP, IPV4.backends[:1])) as (there,):
        one.settimeout(5)
        one.connect((IPV4.service, PORT))
        assert there.asked() == IPV4.backends[0]


LOCAL = {"ipv4": "127.0.0.1", "ipv6": "::1", "mapped": "127.0.0.1"}


@EVERY_WAY
@PROTOCOLS
def test_loopback_is_a_service_in_the_nodes_own_namespace_only(node: Node, way: Way, proto: int) -> None:
    here, own = LOCAL[way.name], Endpoint(LOCAL[way.name], 30080)
    node.service(here, 30080, proto, way.backends[:1], scope=LOOPBACK)
    with backends((proto, way.backends[:1])) as (there,), client(way, proto) as one:
        one.connect((way.written(here), 30080))
        assert one.getpeername()[:2] == (way.written(here), 30080)
        one.send(b"?")
        assert there.asked() == way.backends[0]
    with fresh_namespace(), backends((proto, [own])) as (pod,), client(way, proto) as one:
        one.connect((way.written(here), 30080))
        one.send(b"?")
        assert pod.asked() == own


def test_rows_for_everybody_at_loopback_are_nobodys(node: Node) -> None:
    own = Endpoint("127.0.0.1", 30080)
    node.service("127.0.0.1", 30080, TCP, IPV4.backends[:1])
    with backends((TCP, [own])) as (there,), client(IPV4, TCP) as one:
        one.connect(own)
        assert there.asked() == own
