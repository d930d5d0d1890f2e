"""healthCheckNodePort: what load balancers ask each node, as kube-proxy answers it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reconciler.daemon.http import Answer, BadListen, HttpServer
from reconciler.facts.model import Service
from reconciler.intents import Context
from reconciler.intents.selector import selected
from reconciler.intents.service_entries import local_ready

JSON = "application/json"
WEIGHT = "X-Load-Balancing-Endpoint-Weight"  # by which some load balancers share out among nodes
EVERYWHERE = ("[::]", "0.0.0.0")  # the first has IPv4 too, unless IPv6 is switched off  # noqa: S104 (load balancers are elsewhere)


class Check(NamedTuple):
    """One service that asks for an answer on this node."""

    namespace: str
    name: str
    endpoints: int  # ready ones of this node


def checks(services: Iterable[Service], node: str) -> dict[int, Check]:
    """What each port has to say; of two services with one port, the first by name."""
    found: dict[int, Check] = {}
    for service in services:
        if service.health_check_port and not service.proxy:
            found.setdefault(service.health_check_port, Check(service.namespace, service.name, local_ready(node, service)))
    return found


def asked(context: Context) -> dict[int, Check]:
    """What this node has to answer: nothing where its services are somebody else's to serve."""
    services = context.spec.services
    if services is None or services.node_port == "none" or not selected(context, services.node_selector):
        return {}
    return checks(context.facts.services or (), context.node)


def said(check: Check) -> Answer:
    """200 where a pod of this node is ready, else 503, with the body and the weight that kube-proxy has."""
    body = {
        "service": {"namespace": check.namespace, "name": check.name},
        "localEndpoints": check.endpoints,
        "serviceProxyHealthy": True,  # whoever answers is; one that is not does not answer
    }
    return Answer(200 if check.endpoints else 503, JSON, json.dumps(body).encode(), more=((WEIGHT, str(check.endpoints)),))


class HealthChecks:
    """A server for each port. One thread calls `to`; servers answer from threads of their own."""

    def __init__(self) -> None:
        self._checks: Mapping[int, Check] = {}
        self._servers: dict[int, HttpServer] = {}

    def to(self, wanted: Mapping[int, Check]) -> list[str]:
        """Answer for these from here on. Returns what cannot be listened to, and why; it is tried again with the next call."""
        self._checks = wanted
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
        troubles = []
        for port in wanted.keys() - self._servers.keys():
            try:
                self._servers[port] = self._listen(port)
            except BadListen as error:
                troubles.append(f"healthCheckNodePort {port} of {wanted[port].namespace}/{wanted[port].name}: {error}")
        return troubles

    def close(self) -> None:
        self.to({})

    def _listen(self, port: int) -> HttpServer:
        def ask(path: str) -> Answer:
            check = self._checks.get(port)
            return said(check) if check is not None else Answer(404, JSON, b"{}")

        try:
            return HttpServer(f"{EVERYWHERE[0]}:{port}", ask)
        except BadListen:
            return HttpServer(f"{EVERYWHERE[1]}:{port}", ask)
