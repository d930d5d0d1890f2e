"""Service and EndpointSlice manifests as the API gives them, and as people get them wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.facts.model import Backend, EndpointSlice, Service, ServicePort
from reconciler.facts.services import BadService, parse_service, parse_slice, services_of

SERVICE: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.10",
        "clusterIPs": ["10.96.0.10", "FD00:96::000A"],
        "ports": [
            {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": "web"},
            {"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP"},
        ],
        "externalIPs": ["198.51.100.7"],
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000,
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}, {"hostname": "lb.example"}]}},
}
SLICE: dict[str, Any] = {
    "kind": "EndpointSlice",
    "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "all", "port": None}],
    "endpoints": [
        {"addresses": ["10.244.1.10"], "nodeName": "n1", "conditions": {"ready": True, "serving": True, "terminating": False}},
        {
            "addresses": ["10.244.2.10"],
            "nodeName": "n2",
            "conditions": {},
            "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "n2"}]},
        },
    ],
}


def with_spec(**changes: Any) -> dict[str, Any]:
    return {**SERVICE, "spec": {**SERVICE["spec"], **changes}}


def with_endpoint(**endpoint: Any) -> dict[str, Any]:
    return {**SLICE, "endpoints": [{"addresses": ["10.244.1.10"], **endpoint}]}


def test_all_of_a_service() -> None:
    where = "s.yaml (Service shop/web)"
    assert parse_service(SERVICE, "s.yaml") == Service(
        "shop",
        "web",
        "LoadBalancer",
        ("10.96.0.10", "fd00:96::a"),
        (ServicePort("http", "TCP", 80, 30080), ServicePort("dns", "UDP", 53, 30053)),
        ("198.51.100.7",),
        ("203.0.113.1",),
        external_local=True,
        internal_local=True,
        affinity=60,
        health_check_port=31000,
        where=where,
    )


def test_all_of_a_slice() -> None:
    assert parse_slice(SLICE, "s.yaml") == EndpointSlice(
        "shop/web-1",
        "shop/web",
        (("http", "TCP", 8080),),
        (Backend("10.244.1.10", "n1"), Backend("10.244.2.10", "n2", zones=("a",), nodes=("n2",))),
        "s.yaml (EndpointSlice shop/web-1)",
    )


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        (None, True, True, False),
        ({}, True, True, False),
        ({"ready": None, "serving": None, "terminating": None}, True, True, False),
        ({"ready": False}, False, False, False),
        ({"ready": True, "serving": False}, True, False, False),  # publishNotReadyAddresses
        ({"ready": False, "serving": True, "terminating": True}, False, True, True),
    ],
)
def test_what_conditions_mean(conditions: Any, ready: bool, serving: bool, terminating: bool) -> None:
    found = parse_slice(with_endpoint(conditions=conditions))
    assert found is not None
    assert found.backends == (Backend("10.244.1.10", "", ready, serving, terminating),)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"clusterIP": "None", "clusterIPs": ["None"]}, "cluster_ips", ()),
        ({"clusterIP": "10.96.0.9", "clusterIPs": None}, "cluster_ips", ("10.96.0.9",)),
        ({"clusterIP": "", "clusterIPs": []}, "cluster_ips", ()),
        ({"type": "ExternalName", "externalName": "example.org"}, "cluster_ips", ()),
        ({"type": "ClusterIP"}, "ingress_ips", ()),
        ({"type": "ClusterIP"}, "ports", (ServicePort("http", "TCP", 80), ServicePort("dns", "UDP", 53))),
        ({"type": "ClusterIP"}, "health_check_port", 0),
        ({"type": "ClusterIP"}, "external_local", True),  # of its external IPs
        ({"type": "ClusterIP", "externalIPs": None}, "external_local", False),
        ({"externalTrafficPolicy": "Cluster"}, "health_check_port", 0),
        ({"sessionAffinity": "None"}, "affinity", 0),
        ({"sessionAffinityConfig": None}, "affinity", 10800),
        ({"ports": [{"port": 5000, "protocol": "SCTP"}]}, "ports", (ServicePort("", "SCTP", 5000),)),
        ({"ports": [{"port": 80}], "allocateLoadBalancerNodePorts": False}, "ports", (ServicePort("", "TCP", 80),)),
        ({"loadBalancerSourceRanges": ["192.0.2.0/24"]}, "source_ranges", ("192.0.2.0/24",)),
        ({"loadBalancerSourceRanges": ["192.0.2.0/24", " 0.0.0.0/0"]}, "source_ranges", ("0.0.0.0/0", "192.0.2.0/24")),
        ({"loadBalancerSourceRanges": ["10.1.2.3/8", "2001:db8:0::1/32", "10.0.0.0/8"]}, "source_ranges", ("10.0.0.0/8", "2001:db8::/32")),
    ],
)
def test_forms_of_services(change: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(parse_service(with_spec(**change)), field) == value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ports": [{"port": 0}]}, r"ports\[0\]: port: found '0'; allowed: 1 to 65535"),
        ({"ports": [{"port": "http"}]}, "port: found 'http'"),
        ({"ports": [{"port": 80, "protocol": "ICMP"}]}, "protocol: found 'ICMP'; allowed: TCP, UDP, SCTP"),
        ({"ports": {"port": 80}}, "ports is no list"),
        ({"ports": [80]}, r"ports\[0\] is no mapping"),
        ({"type": "Magic"}, "type: found 'Magic'; allowed: ClusterIP, NodePort, LoadBalancer, ExternalName"),
        ({"clusterIPs": ["10.96.0"]}, "spec.clusterIPs: '10.96.0' is no address"),
        ({"externalIPs": ["127.0.0.1"]}, "spec.externalIPs: 127.0.0.1 can be reached by nobody else"),
        ({"externalTrafficPolicy": "Nearby"}, "allowed: Cluster, Local"),
        ({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}}}, "allowed: 1 to 86400"),
        ({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}, "allowed: 1 to 86400"),
        ({"loadBalancerSourceRanges": ["10.0.0.1"]}, "loadBalancerSourceRanges: '10.0.0.1' is no network"),
        ({"loadBalancerSourceRanges": ["10.0.0.1/33"]}, "a prefix length of 0 to 32 is missing"),
    ],
)
def test_mistakes_in_services(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadService, match=rf"s.yaml \(Service shop/web\).*{says}"):
        parse_service(with_spec(**change), "s.yaml")


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ({**SLICE, "addressType": "IPX"}, "addressType: found 'IPX'; allowed: IPv4, IPv6, FQDN"),
        ({**SLICE, "addressType": "IPv6"}, r"endpoints\[0\]: 10.244.1.10 is not of the slice's addressType"),
        (with_endpoint(addresses=[]), r"endpoints\[0\]: addresses are missing"),
        (with_endpoint(addresses=["224.0.0.1"]), "can be reached by nobody else"),
        (with_endpoint(conditions=[]), r"endpoints\[0\]: conditions is no mapping"),
        ({**SLICE, "metadata": {"labels": {}}}, "metadata.name is missing"),
        ({**SLICE, "metadata": {**SLICE["metadata"], "name": "a b"}}, "metadata.name: 'a b' is none"),
    ],
)
def test_mistakes_in_slices(thing: dict[str, Any], says: str) -> None:
    with pytest.raises(BadService, match=says):
        parse_slice(thing, "s.yaml")


@pytest.mark.parametrize(
    "thing",
    [
        {**SLICE, "addressType": "FQDN", "endpoints": [{"addresses": ["example.org"]}]},
        {**SLICE, "metadata": {"name": "a", "labels": {}}},
        {**SLICE, "metadata": {**SLICE["metadata"], "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}}},
        {
            **SLICE,
            "metadata": {
                **SLICE["metadata"],
                "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/service-proxy-name": "x"},
            },
        },
    ],
)
def test_slices_that_are_no_concern_of_ours(thing: dict[str, Any]) -> None:
    assert parse_slice(thing) is None


def test_who_else_serves_it() -> None:
    labels = {"service.kubernetes.io/service-proxy-name": "other"}
    assert parse_service({**SERVICE, "metadata": {**SERVICE["metadata"], "labels": labels}}).proxy == "other"


def test_what_is_wrong_is_told_and_holds_up_nothing_else() -> None:
    bad = with_spec(type="Magic")
    services, wrong = services_of(
        [
            (SLICE, "f"),
            ({**bad, "metadata": {"name": "bad"}}, "f"),
            (SERVICE, "f"),
            (with_spec(sessionAffinity="None"), "g"),
            (with_endpoint(addresses=[]), "g"),
            ({"kind": "Node"}, "f"),
        ]
    )
    assert services is not None
    assert [(one.key, [piece.name for piece in one.slices]) for one in services] == [("shop/web", ["shop/web-1"])]
    assert [("left out" in one, "the first one counts" in one) for one in wrong] == [(True, False), (False, True), (True, False)]
    assert wrong[0].startswith("f (Service default/bad)")
    assert wrong[2].startswith("g (EndpointSlice shop/web-1)")


def test_no_services_are_not_known_and_one_bad_one_is() -> None:
    assert services_of([({"kind": "Pod"}, "f"), (SLICE, "f")]) == (None, [])
    assert services_of([(with_spec(type="Magic"), "f")])[0] == ()


@given(st.permutations([(SERVICE, "f"), *(({**SLICE, "metadata": {**SLICE["metadata"], "name": f"web-{n}"}}, "f") for n in range(3))]))
def test_the_order_of_the_objects_makes_no_difference(objects: list[tuple[dict[str, Any], str]]) -> None:
    assert services_of(objects) == services_of(sorted(objects, key=lambda one: str(one[0]["metadata"])))
