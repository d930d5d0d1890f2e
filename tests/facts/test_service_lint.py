"""Services against each other, the nodes, the networks and network.yaml."""

from __future__ import annotations

import pytest

from reconciler.facts.lint import lint
from reconciler.facts.merge import build_facts
from reconciler.facts.model import Backend, EndpointSlice, Service, ServicePort
from reconciler.facts.service_lint import TOLD
from reconciler.spec.load import load_text
from reconciler.spec.problems import Problem

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}}\n"
SLICE = EndpointSlice("default/a-1", "default/a", (("", "TCP", 80),), tuple(Backend(f"10.244.1.{number}", "n1") for number in range(1, 6)))
A = Service(
    "default", "a", "NodePort", ("10.96.0.1",), (ServicePort("", "TCP", 80, 30080),), slices=(SLICE,), where="s.yaml (Service default/a)"
)
B = A._replace(name="b", cluster_ips=("10.96.0.2",), ports=(ServicePort("", "TCP", 80, 30081),), where="s.yaml (Service default/b)")


def told(body: str, *services: Service) -> list[Problem]:
    loaded = load_text(HEAD + body + "\n")
    return lint(loaded, build_facts(loaded, [], services=services))


@pytest.mark.parametrize(
    ("body", "services", "severity", "says"),
    [
        (
            "services: {networks: 10.244.0.0/20}\nfabric: {podNetwork: [10.244.0.0/16]}",
            (),
            "error",
            "services.networks: 10.244.0.0/20 overlaps the pod",
        ),
        ("services: {networks: 10.244.0.0/20}", (), "error", "10.244.1.0/24 of node n1 lies in 10.244.0.0/20"),
        ("services: {networks: 10.0.0.0/16}", (), "error", "10.0.1.11 of node n1 lies in 10.0.0.0/16"),
        ("services: {nodePort: {range: 30000-62000}}", (), "error", "services.nodePort.range: reaches into 61000-65535"),
        (
            "services: {}\nsysctls: {net.ipv4.ip_local_port_range: 1024 65000}",
            (),
            "warning",
            "ip_local_port_range: ends at 65000, inside 61000-65535",
        ),
        ("services: {}\ncluster: {apiServers: https://10.96.0.1:443}", (A,), "error", "10.96.0.1 is the ClusterIP of default/a"),
        (
            "services: {networks: 10.96.0.0/16}\ncluster: {apiServers: https://10.96.0.99}",
            (),
            "error",
            "the ClusterIP of one of 10.96.0.0/16",
        ),
        ("services: {maxFronts: 4}", (A,), "warning", "services.maxFronts: is 4, and the services have up to 5 entries"),
        ("services: {maxBackends: 4}", (A,), "warning", "services.maxBackends: is 4, and the services have up to 5 entries"),
        ("services: {nodePort: {range: 20000-30000}}", (A,), "warning", "(Service default/a): its node port 30080 is outside"),
        ("services: {networks: 10.97.0.0/16}", (A,), "warning", "its ClusterIP 10.96.0.1 is outside services.networks, 10.97.0.0/16"),
        (
            "services: {}",
            (B._replace(external_ips=("10.0.1.11",)),),
            "warning",
            "10.0.1.11 is the address of node n1: whatever listens there at 80/TCP",
        ),
        ("services: {}", (B._replace(ports=A.ports), A), "warning", "(Service default/b): node port 30080/TCP is that of default/a too"),
        (
            "services: {}",
            (A, B._replace(cluster_ips=A.cluster_ips)),
            "warning",
            "(Service default/b): 10.96.0.1:80/TCP is that of default/a too",
        ),
        (
            "services: {}",
            (A._replace(external_ips=("2001:db8::1",)), B._replace(ingress_ips=("2001:db8::1",))),
            "warning",
            "(Service default/b): [2001:db8::1]:80/TCP is that of default/a too",
        ),
    ],
)
def test_what_is_told(body: str, services: tuple[Service, ...], severity: str, says: str) -> None:
    found = told(body, *services)
    assert [(one.severity, says in str(one)) for one in found] == [(severity, True)], [str(one) for one in found]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "services: {}",
        "services: {networks: [10.96.0.0/16, 'fd00:96::/112'], nodePort: {range: 30000-32767}}\ncluster: {apiServers: https://10.0.1.11:6443}",
        "services: {}\nsysctls: {net.ipv4.ip_local_port_range: 32768 60999}",
        "services: {nodePort: none}\nsysctls: {net.ipv4.ip_local_port_range: 1024 65000}\ncluster: {apiServers: https://api.example:6443}",
    ],
)
def test_what_is_right_is_not_told(body: str) -> None:
    port = (ServicePort("dns", "UDP", 80, 30080), ServicePort("dns-tcp", "TCP", 80, 30082))
    others = (A._replace(name="c", cluster_ips=("10.96.0.3",), ports=port), A._replace(name="d", proxy="other"))
    assert told(body, A, B, *others) == []


def test_of_many_the_first_few_are_told() -> None:
    many = [A._replace(name=f"s{number:02}", cluster_ips=(f"10.96.1.{number}",)) for number in range(40)]
    assert len(told("services: {}", *many)) == TOLD
