"""What the daemon answers of services: health checks of load balancers, and counters."""

from __future__ import annotations

import http.client
import json
import socket

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from reconciler.daemon.health_checks import Check, HealthChecks, asked, checks
from reconciler.daemon.service_metrics import ServiceCounts, families
from reconciler.engine.model import Wanted
from reconciler.facts.model import Backend, EndpointSlice, Facts, Node, Service, ServicePort
from reconciler.intents import Context
from reconciler.intents.service_entries import Here, entries
from reconciler.kernel.service_counts import Count, Held
from reconciler.kinds.bpf_map_entry import BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.layout import Service as Lead
from reconciler.kinds.bpf_map_entry.services import ServiceTable
from reconciler.spec.load import load_text

SLICE = EndpointSlice(
    "default/web-1", "default/web", (("http", "TCP", 8080),), (Backend("10.244.1.10", "n1"), Backend("10.244.2.10", "n2"))
)
WEB = Service(
    "default", "web", "LoadBalancer", ("10.96.0.10",), (ServicePort("http", "TCP", 80, 30080),), external_local=True, slices=(SLICE,)
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def get(port: int) -> tuple[int, str | None, str | None, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/healthz")
    found = connection.getresponse()
    return found.status, found.headers["Content-Type"], found.headers["X-Load-Balancing-Endpoint-Weight"], json.loads(found.read())


def test_a_health_check_is_answered_as_kube_proxy_does() -> None:
    port, health = free_port(), HealthChecks()
    try:
        assert health.to({port: Check("default", "web", 2)}) == []
        body = {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": True}
        assert get(port) == (200, "application/json", "2", body)
        assert health.to({port: Check("default", "web", 0)}) == []
        assert get(port) == (503, "application/json", "0", {**body, "localEndpoints": 0})
        assert health.to({}) == []
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", port)) != 0
    finally:
        health.close()


def test_a_port_that_somebody_else_has_is_told_and_tried_again() -> None:
    health = HealthChecks()
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104 (where kube-proxy listens)
        port = other.getsockname()[1]
        try:
            (trouble,) = health.to({port: Check("default", "web", 1)})
            assert f"healthCheckNodePort {port} of default/web" in trouble
            other.close()
            assert health.to({port: Check("default", "web", 1)}) == []
        finally:
            health.close()


def test_who_is_asked_for() -> None:
    services = (
        WEB._replace(health_check_port=31000),
        WEB._replace(name="x"),
        WEB._replace(name="y", health_check_port=31001, proxy="other"),
    )
    assert checks(services, "n1") == {31000: Check("default", "web", 1)}
    for body, found in (("services: {}", 1), ("services: {nodePort: none}", 0), ("services: {nodeSelector: {a: b}}", 0), ("", 0)):
        loaded = load_text(f"apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n{body}\n")
        context = Context(loaded.spec, Facts({"n1": Node("n1")}, services=services), "n1", loaded.where)
        assert len(asked(context)) == found


class _Told(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self.found = found

    def collect(self) -> list[Metric]:
        return self.found


def test_counters_are_told_by_service_and_port() -> None:
    found = entries(Here("n1", addresses=("10.0.1.11",)), WEB)
    ids = {name: number for number, (name, _) in enumerate(found.lists, 1)}
    fronts = {front.key: Lead(ids[front.list], 1, 0, 0) for front in found.fronts}
    maps = Held(fronts, {1: Count(3, 20, 2000), 2: Count(4, 10, 1000), 99: Count(7, 7, 7)}, {"no_backend": 5})
    registry = CollectorRegistry()
    registry.register(_Told(list(families({"default/web": found}, maps))))
    text = generate_latest(registry).decode()
    for line in (
        'plumbline_service_connections_total{port="http",protocol="TCP",service="default/web"} 7.0',
        'plumbline_service_packets_total{port="http",protocol="TCP",service="default/web"} 30.0',
        'plumbline_service_bytes_total{port="http",protocol="TCP",service="default/web"} 3000.0',
        'plumbline_service_drops_total{reason="no_backend"} 5.0',
    ):
        assert line in text


def test_nothing_is_told_without_services_or_without_maps() -> None:
    counts = ServiceCounts()
    assert [one.samples for one in counts.collect()] == [[], [], [], []]
    table = ServiceTable(BpfMapEntryKey("/nowhere/maps/pl_front_1", b""), "/nowhere/maps/pl_back_1", "/nowhere/maps/pl_range_1", {})
    counts.to(Wanted({"bpf_map_entry": {table.key: table}}))
    assert [one.samples for one in counts.collect()] == [[], [], [], []]
