"""What Kubernetes says of services, as entries of one node's maps. docs/services.md names these tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.facts.model import Backend, EndpointSlice, Facts, Host, Node, NodeAddress, Service, ServicePort
from reconciler.intents import Context, Memo, Remark, compile_node
from reconciler.intents.service_entries import Here, entries, local_ready
from reconciler.intents.services import rows
from reconciler.kinds.bpf_map import BpfMap
from reconciler.kinds.bpf_map_entry import BpfMapEntry
from reconciler.kinds.bpf_map_entry.layout import DROP_EMPTY, KEEP_CLIENT, OBJECTS, backend_text, front_text, network_text
from reconciler.kinds.bpf_map_entry.services import Entries, ServiceTable
from reconciler.kinds.bpf_program import BpfProgram
from reconciler.kinds.cgroup_attachment import CgroupAttachment
from reconciler.kinds.tc_filter import TcFilter
from reconciler.spec.load import Loaded, load_text

HERE_ON_N1 = Here("n1", "zone-a", ("10.0.1.11", "fd00:1::11"))
A, B, C = Backend("10.244.1.10", "n1"), Backend("10.244.2.10", "n2"), Backend("10.244.3.10", "n3")
TERMINATING: dict[str, Any] = {"ready": False, "serving": True, "terminating": True}
HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"


def piece(*backends: Backend, port: int = 8080, name: str = "http", number: int = 1, protocol: str = "TCP") -> EndpointSlice:
    return EndpointSlice(f"default/web-{number}", "default/web", ((name, protocol, port),), backends)


def service(*slices: EndpointSlice, **changes: Any) -> Service:
    web = Service("default", "web", "ClusterIP", ("10.96.0.10",), (ServicePort("http", "TCP", 80),), slices=slices)
    return web._replace(**changes)


def node_port(*slices: EndpointSlice, **changes: Any) -> Service:
    return service(*slices, **{"type": "NodePort", "ports": (ServicePort("http", "TCP", 80, 30080),), **changes})


def led(found: Entries) -> dict[str, list[str]]:
    """Where each front leads to, in words."""
    lists = dict(found.lists)
    return {front_text(front.key): [backend_text(value) for value in lists[front.list]] for front in found.doors}


def sources(found: Entries) -> dict[str, list[str]]:
    """Who is let in where not everybody is."""
    ranges = dict(found.ranges)
    return {front_text(gate.key): list(map(network_text, ranges[gate.ranges])) for gate in found.gates}


def flags(found: Entries) -> dict[str, int]:
    return {front_text(front.key): front.flags for front in found.fronts}


# -- which endpoints are used ------------------------------------------------------------------


def used(*backends: Backend, here: Here = HERE_ON_N1, **changes: Any) -> list[str]:
    """The endpoints behind the cluster IP."""
    return [
        one.removesuffix(" here").removesuffix(":8080")
        for one in led(entries(here, service(piece(*backends), **changes)))["10.96.0.10:80/tcp"]
    ]


def test_ready_ones_are_used() -> None:
    assert used(A, B._replace(ready=False, serving=False), C) == ["10.244.1.10", "10.244.3.10"]
    assert used() == []


def test_terminating_ones_are_used_only_without_a_ready_one() -> None:
    ending = B._replace(**TERMINATING)
    assert used(A, ending) == ["10.244.1.10"]
    assert used(A._replace(ready=False, serving=False), ending) == ["10.244.2.10"]
    assert used(ending._replace(serving=False)) == []


def test_addresses_that_are_not_ready_but_published_are_used() -> None:
    assert used(A._replace(ready=True, serving=False)) == ["10.244.1.10"]


def test_slices_are_one_list_and_an_endpoint_counts_once() -> None:
    both = service(piece(A, B), piece(B, C, number=2), piece(A._replace(ready=False, serving=False), number=3))
    assert led(entries(HERE_ON_N1, both))["10.96.0.10:80/tcp"] == ["10.244.1.10:8080 here", "10.244.2.10:8080", "10.244.3.10:8080"]


def test_named_ports_are_found_slice_by_slice() -> None:
    """A rolling update that gives the named port another number: both numbers for a while."""
    both = service(piece(A), piece(B, port=9090, number=2), piece(C, name="other", number=3), piece(C, protocol="UDP", number=4))
    assert led(entries(HERE_ON_N1, both)) == {"10.96.0.10:80/tcp": ["10.244.1.10:8080 here", "10.244.2.10:9090"]}


def test_hints_of_zones_count_where_all_have_them_and_one_is_of_ours() -> None:
    a, b, c = (one._replace(zones=(zone,)) for one, zone in ((A, "zone-b"), (B, "zone-a"), (C, "zone-a")))
    assert used(a, b, c) == ["10.244.2.10", "10.244.3.10"]
    assert used(a, b, c._replace(zones=())) == ["10.244.1.10", "10.244.2.10", "10.244.3.10"]
    assert used(a, here=HERE_ON_N1) == ["10.244.1.10"]
    assert used(a, b, here=HERE_ON_N1._replace(zone="")) == ["10.244.1.10", "10.244.2.10"]
    assert used(a, b._replace(ready=False, serving=False, zones=())) == ["10.244.1.10"]


def test_hints_of_nodes_come_before_those_of_zones() -> None:
    a, b = A._replace(zones=("zone-b",), nodes=("n1",)), B._replace(zones=("zone-a",), nodes=("n2",))
    assert used(a, b) == ["10.244.1.10"]
    assert used(b, a._replace(nodes=("n3",))) == ["10.244.2.10"]


# -- where they are reached ----------------------------------------------------------------------


def test_a_cluster_ip_is_for_whoever_is_inside() -> None:
    found = entries(HERE_ON_N1, service(piece(A, B)))
    assert led(found) == {"10.96.0.10:80/tcp": ["10.244.1.10:8080 here", "10.244.2.10:8080"]}
    assert flags(found) == {"10.96.0.10:80/tcp": 0}


@pytest.mark.parametrize("changes", [{"cluster_ips": ()}, {"type": "ExternalName", "cluster_ips": ()}, {"proxy": "other"}])
def test_headless_ones_names_and_those_of_another_proxy_are_left_alone(changes: Mapping[str, Any]) -> None:
    assert entries(HERE_ON_N1, service(piece(A), external_ips=("198.51.100.7",), **changes)) == Entries()


def test_both_families_each_with_endpoints_of_its_own() -> None:
    six = EndpointSlice("default/web-6", "default/web", (("http", "TCP", 8080),), (Backend("fd00:244:2::10", "n2"),))
    found = entries(HERE_ON_N1, node_port(piece(A), six, cluster_ips=("10.96.0.10", "fd00:96::10")))
    assert led(found) == {
        "10.96.0.10:80/tcp": ["10.244.1.10:8080 here"],
        "10.0.1.11:30080/tcp": ["10.244.1.10:8080 here"],
        "10.0.1.11:30080/tcp from outside": ["10.244.1.10:8080 here"],
        "[fd00:96::10]:80/tcp": ["[fd00:244:2::10]:8080"],
        "[fd00:1::11]:30080/tcp": ["[fd00:244:2::10]:8080"],
        "[fd00:1::11]:30080/tcp from outside": ["[fd00:244:2::10]:8080"],
    }


def test_a_node_port_is_of_the_families_that_the_service_has() -> None:
    assert not any("fd00" in front for front in led(entries(HERE_ON_N1, node_port(piece(A)))))


def test_external_ips_and_load_balancers_are_reached_at_the_services_own_port() -> None:
    found = led(entries(HERE_ON_N1, service(piece(B), external_ips=("198.51.100.7",), ingress_ips=("203.0.113.1", "198.51.100.7"))))
    reached = ("10.96.0.10:80/tcp", "198.51.100.7:80/tcp", "198.51.100.7:80/tcp from outside", "203.0.113.1:80/tcp")
    assert list(found) == [*reached, "203.0.113.1:80/tcp from outside"]


def test_udp_and_tcp_at_one_port_are_two_and_sctp_is_none() -> None:
    ports = (ServicePort("dns", "UDP", 53), ServicePort("dns-tcp", "TCP", 53), ServicePort("sigtran", "SCTP", 53))
    both = EndpointSlice("default/web-1", "default/web", (("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("sigtran", "SCTP", 53)), (A,))
    assert led(entries(HERE_ON_N1, service(both, ports=ports))) == {
        "10.96.0.10:53/udp": ["10.244.1.10:53 here"],
        "10.96.0.10:53/tcp": ["10.244.1.10:53 here"],
    }


def test_node_ports_on_loopback_are_of_one_network_namespace() -> None:
    found = entries(HERE_ON_N1._replace(netns_cookie=4711), node_port(piece(A)))
    (key,) = [front.key for front in found.fronts if front_text(front.key) == "127.0.0.1:30080/tcp on loopback"]
    assert int.from_bytes(key[:8], "little" if key[0] else "big") == 4711


def test_without_node_ports_there_are_cluster_ips_alone() -> None:
    everything = node_port(piece(A), external_ips=("198.51.100.7",), type="LoadBalancer", ingress_ips=("203.0.113.1",))
    assert list(led(entries(Here("n1", outside=False), everything))) == ["10.96.0.10:80/tcp"]


def balanced(*ranges: str, **changes: Any) -> Entries:
    both = {"cluster_ips": ("10.96.0.10", "fd00:96::10"), "ingress_ips": ("203.0.113.1", "2001:db8::1"), **changes}
    return entries(HERE_ON_N1, node_port(piece(A), type="LoadBalancer", source_ranges=ranges, **both))


def test_source_ranges_are_for_the_load_balancers_addresses_from_outside_alone() -> None:
    found = balanced("192.0.2.0/24", "198.51.100.7/32", "2001:db8:1::/48", external_ips=("198.51.100.7",))
    both = "192.0.2.0/24", "198.51.100.7/32"
    assert sources(found) == {"203.0.113.1:80/tcp from outside": [*both], "[2001:db8::1]:80/tcp from outside": ["2001:db8:1::/48"]}
    assert led(found) == led(balanced(external_ips=("198.51.100.7",))), "and lead where they would without"
    assert [front_text(one.key) for one in found.fronts if "outside" in front_text(one.key)] == [
        "198.51.100.7:80/tcp from outside",
        "10.0.1.11:30080/tcp from outside",
        "[fd00:1::11]:30080/tcp from outside",
    ]


def test_source_ranges_hold_for_an_address_that_is_an_external_ip_too() -> None:
    found = balanced("192.0.2.0/24", external_ips=("203.0.113.1",), ingress_ips=("203.0.113.1",))
    assert sources(found) == {"203.0.113.1:80/tcp from outside": ["192.0.2.0/24"]}
    assert not any(front_text(one.key) == "203.0.113.1:80/tcp from outside" for one in found.fronts)


@pytest.mark.parametrize(
    ("ranges", "four", "six"),
    [
        ((), None, None),
        (("0.0.0.0/0",), None, None),
        (("::/0",), None, None),
        (("0.0.0.0/0", "192.0.2.0/24", "::/0"), None, None),
        (("192.0.2.0/24",), ["192.0.2.0/24"], []),
        (("2001:db8::/32",), [], ["2001:db8::/32"]),
        (("0.0.0.0/0", "2001:db8::/32"), None, ["2001:db8::/32"]),
        (("192.0.2.0/24", "::/0"), ["192.0.2.0/24"], None),
        (("10.0.0.0/8", "10.1.0.0/16"), ["10.0.0.0/8", "10.1.0.0/16"], []),
    ],
)
def test_source_ranges_of_one_family_close_the_other(ranges: tuple[str, ...], four: list[str] | None, six: list[str] | None) -> None:
    said = {"203.0.113.1:80/tcp from outside": four, "[2001:db8::1]:80/tcp from outside": six}
    assert sources(balanced(*ranges)) == {front: found for front, found in said.items() if found is not None}


def test_source_ranges_stand_before_what_the_policies_say() -> None:
    (gate,) = balanced("192.0.2.0/24", ingress_ips=("203.0.113.1",), external_local=True, affinity=600).gates
    assert (gate.list, gate.affinity, gate.flags) == ("default/web:http/TCP IPv4 local", 600, KEEP_CLIENT)


def test_other_source_ranges_have_another_name_and_the_same_ones_the_same() -> None:
    names = [dict(balanced(one, ingress_ips=("203.0.113.1",)).ranges).keys() for one in ("192.0.2.0/24", "192.0.2.0/25", "192.0.2.0/24")]
    assert names[0] == names[2] != names[1]
    assert len({name for found in names for name in found}) == 2


# -- policies --------------------------------------------------------------------------------------


def test_external_traffic_policy_local_keeps_clients_and_uses_pods_of_this_node_only() -> None:
    found = entries(HERE_ON_N1, node_port(piece(A, B), external_local=True))
    assert led(found)["10.0.1.11:30080/tcp from outside"] == ["10.244.1.10:8080 here"]
    assert led(found)["10.0.1.11:30080/tcp"] == ["10.244.1.10:8080 here", "10.244.2.10:8080"]  # from inside: everywhere
    assert flags(found)["10.0.1.11:30080/tcp from outside"] == KEEP_CLIENT
    assert flags(found)["10.96.0.10:80/tcp"] == 0


def test_external_traffic_policy_local_without_a_pod_here_answers_nothing() -> None:
    found = entries(HERE_ON_N1, node_port(piece(B), external_local=True))
    assert led(found)["10.0.1.11:30080/tcp from outside"] == []
    assert flags(found)["10.0.1.11:30080/tcp from outside"] == KEEP_CLIENT | DROP_EMPTY
    nowhere = entries(HERE_ON_N1, node_port(piece(), external_local=True))
    assert flags(nowhere)["10.0.1.11:30080/tcp from outside"] == KEEP_CLIENT  # nobody has one: refused


def test_external_traffic_policy_local_uses_terminating_pods_of_this_node() -> None:
    found = entries(HERE_ON_N1, node_port(piece(A._replace(**TERMINATING), B), external_local=True))
    assert led(found)["10.0.1.11:30080/tcp from outside"] == ["10.244.1.10:8080 here"]


def test_internal_traffic_policy_local_uses_pods_of_this_node_only() -> None:
    assert used(A, B, internal_local=True) == ["10.244.1.10"]
    found = entries(HERE_ON_N1, service(piece(B), internal_local=True))
    assert (led(found), flags(found)) == ({"10.96.0.10:80/tcp": []}, {"10.96.0.10:80/tcp": DROP_EMPTY})


def test_session_affinity_is_the_same_at_every_front() -> None:
    found = entries(HERE_ON_N1, node_port(piece(A), affinity=600))
    assert {front.affinity for front in found.fronts} == {600}


def test_a_health_check_counts_ready_pods_of_this_node() -> None:
    slices = (piece(A, A._replace(address="10.244.1.11", ready=False), B), piece(A, number=2))
    assert local_ready("n1", service(*slices)) == 1
    assert local_ready("n3", service(*slices)) == 0


# -- the whole intent ------------------------------------------------------------------------------

DIGESTS = {name: f"{number:064x}" for number, name in enumerate(OBJECTS)}
HOST = Host("eth0", 1500, objects=DIGESTS, netns_cookie=1)
NODES = {
    "n1": Node("n1", (NodeAddress("10.0.1.11", 24),), ("10.244.1.0/24",), {"topology.kubernetes.io/zone": "zone-a"}),
    "n2": Node("n2", (NodeAddress("10.0.1.12", 24),), ("10.244.2.0/24",)),
}


def context(
    body: str = "services: {}", services: tuple[Service, ...] | None = (), host: Host | None = HOST, memo: Memo | None = None
) -> Context:
    loaded: Loaded = load_text(f"{HEAD}{body}\n")
    return Context(loaded.spec, Facts(NODES, host, services=services), "n1", loaded.where, memo)


def made(kind: type[Any], where: Context) -> list[Any]:
    return [row for row in rows(where) if type(row) is kind]


def test_everything_is_below_one_folder_also_on_a_lab_node() -> None:
    assert {row.key.path.rpartition("/")[0] for row in made(BpfMap, context())} == {"/sys/fs/bpf/plumbline/maps"}
    lab = context(host=HOST._replace(root="/run/lab/n1"))
    assert {row.key.path.rpartition("/")[0] for row in made(BpfMap, lab)} == {"/run/lab/n1/sys/fs/bpf/plumbline/maps"}
    assert {row.key.cgroup for row in made(CgroupAttachment, lab)} == {"/run/lab/n1/sys/fs/cgroup"}
    other = context("services: {bpffs: /run/bpf, cgroup: /sys/fs/cgroup/unified}")
    assert {row.key.path.rpartition("/")[0] for row in made(BpfProgram, other)} == {"/run/bpf/plumbline"}


def test_filters_are_where_clients_come_by_and_where_packets_go_to_other_nodes() -> None:
    def devices(body: str, host: Host = HOST) -> set[str]:
        return {row.key.dev for row in made(TcFilter, context(body, host=host))}

    assert devices("services: {}") == {"eth0"}
    assert devices("fabric: {podNetwork: [10.244.0.0/16]}\nservices: {}") == {"eth0", "plumb0"}
    assert devices("fabric: {mode: direct}\nservices: {nodePort: {devices: [bond1]}}") == {"bond1", "eth0"}
    assert devices("services: {nodePort: {devices: ['ens*', bond1]}}", HOST._replace(links=("ens1", "ens2", "eth0"))) == {
        "ens1",
        "ens2",
        "bond1",
    }
    assert devices("services: {nodePort: none}") == set()


def test_node_ports_at_some_addresses_only() -> None:
    def reached(body: str, host: Host = HOST) -> set[str]:
        (table,) = made(ServiceTable, context(body, (node_port(piece(A)),), host))
        return {front for front in led(table.services["default/web"]) if ":30080" in front and "outside" in front}

    assert reached("services: {}") == {"10.0.1.11:30080/tcp from outside"}
    more = HOST._replace(addresses=("10.0.1.11", "192.0.2.11", "198.51.100.1"))
    said = "services: {nodePort: {addresses: [192.0.2.0/24, 10.0.1.0/24]}}"
    assert reached(said, more) == {"10.0.1.11:30080/tcp from outside", "192.0.2.11:30080/tcp from outside"}
    assert reached("services: {nodePort: {addresses: 203.0.113.0/24}}", more) == set()


def test_maps_are_as_large_as_they_are_said_to_be() -> None:
    found = {row.key.name: row.max_entries for row in made(BpfMap, context("services: {maxBackends: 1000, maxFronts: 500}"))}
    assert (found["pl_back_1"], found["pl_front_1"], found["pl_count_1"]) == (1000, 500, 500)
    assert "pl_flow_1" not in {row.key.name for row in made(BpfMap, context("services: {nodePort: none}"))}


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (context(services=None), "which services there are is not known"),
        (context(host=HOST._replace(objects={})), "came without its eBPF objects (stub.o, sock.o, device.o)"),
        (context(services=(service(piece(A), ports=(ServicePort("", "SCTP", 5000),)),)), "port 5000/SCTP is left alone"),
        (context("services: {nodePort: {devices: ['eth*']}}", host=None), "which devices match eth* is known only on the node"),
        (context(host=HOST._replace(uplink="")), "which device is the uplink of n1 cannot be told"),
        (context("services: {nodePort: {addresses: 203.0.113.0/24}}"), "n1 has no address that node ports could be reached at"),
        (
            context(services=(service(ingress_ips=("203.0.113.1", "2001:db8::1"), source_ranges=("192.0.2.0/24",)),)),
            "loadBalancerSourceRanges names no network of IPv6, so nobody from outside is let in at 2001:db8::1; add some, or ::/0",
        ),
        (
            context(host=HOST._replace(tells_sources=False)),
            "from outside to an endpoint on another node is dropped and counted (no_source)",
        ),
        (context(host=HOST._replace(passing_bpffs=True)), "the BPF file system at /sys/fs/bpf is this container's own"),
    ],
)
def test_what_is_left_undone_is_told(where: Context, says: str) -> None:
    assert says in "\n".join(str(row) for row in rows(where) if type(row) is Remark)


def test_a_node_that_is_not_selected_has_none_of_it() -> None:
    assert list(rows(context("services: {nodeSelector: {role: edge}}"))) == []


def test_one_change_makes_one_service_anew() -> None:
    def table(memo: Memo, services: tuple[Service, ...]) -> ServiceTable:
        (found,) = made(ServiceTable, context(services=services, memo=memo))
        assert isinstance(found, ServiceTable)
        return found

    memo = Memo()
    a, b, c = (service(piece(A), name=name) for name in "abc")
    first = table(memo, (a, b, c))
    assert table(memo, (a, b, c)).services is first.services
    changed = table(memo, (a, b._replace(slices=(piece(A, B),)), c))
    assert [name for name in "abc" if changed.services[f"default/{name}"] is not first.services[f"default/{name}"]] == ["b"]
    for services in ((a, c), (c._replace(name="0"), a, b, c), (), (b,), (c, b, a)):
        assert table(memo, services) == table(Memo(), services)


def test_rows_of_all_intents_fit_together() -> None:
    compiled = compile_node(context("fabric: {podNetwork: [10.244.0.0/16]}\nservices: {}", (node_port(piece(A, B)),)))
    assert not compiled.clashes
    kinds = [type(row) for row in compiled.wanted.rows("bpf_map_entry")]
    assert (kinds.count(BpfMapEntry), kinds.count(ServiceTable)) == (10, 1)
