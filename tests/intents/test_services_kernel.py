"""Services of network.yaml in a kernel: put in place, changed, found again, taken away; a socket is led, and counted."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.daemon.page.counts import with_counts
from reconciler.engine.assign import assign
from reconciler.engine.guard import Limits
from reconciler.engine.round import Result
from reconciler.engine.text import text
from reconciler.facts.model import Backend, EndpointSlice, Service, ServicePort
from reconciler.kernel.service_counts import Count, Held, held, some
from reconciler.kinds import all_kinds
from reconciler.kinds.bpf_map_entry.layout import front_text
from reconciler.kinds.bpf_map_entry.services import ServiceTable
from reconciler.spec.load import load_text
from tests.bpf import frames
from tests.bpf.machine import Machine, machine_of_its_own
from tests.bpf.places import Unavailable
from tests.bpf.talk import wait_until
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
SPEC = load_text(
    "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
    "services: {maxBackends: 1000, maxFronts: 1000, maxFlows: 1024, maxSockets: 1024, nodePort: {devices: ['nic*']}}\n"
)


@pytest.fixture
def machine(netns: str, tmp_path: Path) -> Iterator[Machine]:
    try:
        with machine_of_its_own(SPEC, tmp_path) as made:
            yield made
    except Unavailable as reason:
        pytest.skip(str(reason))


def web(*addresses: str, name: str = "web", ip: str = "10.96.0.10") -> Service:
    backends = tuple(Backend(one, "n1") for one in addresses)
    slices = (EndpointSlice(f"default/{name}-1", f"default/{name}", (("http", "TCP", 8080),), backends),)
    return Service("default", name, "NodePort", (ip,), (ServicePort("http", "TCP", 80, 30080 if name == "web" else 0),), slices=slices)


def lines(result: Result) -> list[str]:
    return [str(line) for action in result.first.actions for line in action.lines]


def reaches(address: str, port: int) -> str:
    """The address of the server that answers a connection."""
    servers = [socket.create_server((one, 8080)) for one in ("10.244.1.10", "10.244.1.11")]
    try:
        with socket.create_connection((address, port), timeout=5) as client:
            own = client.getsockname()
            for server in servers:
                server.setblocking(False)
                try:
                    accepted, peer = server.accept()
                except BlockingIOError:
                    continue
                with accepted:
                    assert peer == own
                    found: str = server.getsockname()[0]
                    return found
        return ""
    finally:
        for server in servers:
            server.close()


def test_from_nothing_through_changes_and_a_restart_to_nothing(machine: Machine) -> None:
    first = machine.apply(web("10.244.1.10"), web("10.244.1.11", name="other", ip="10.96.0.11"))
    assert first.errors == ()
    assert first.converged
    assert reaches("10.96.0.10", 80) == "10.244.1.10"
    assert reaches("10.0.1.11", 30080) == "10.244.1.10"
    assert reaches("127.0.0.1", 30080) == "10.244.1.10"
    assert reaches("10.96.0.11", 80) == "10.244.1.11"

    more = machine.apply(web("10.244.1.10", "10.244.1.11"), web("10.244.1.11", name="other", ip="10.96.0.11"))
    assert more.converged
    changed = [line.split()[4].rpartition("/")[2] for line in lines(more)]
    assert changed == ["pl_back_1", "pl_front_1", "pl_front_1", "pl_front_1", "pl_front_1"], "the others are not touched"

    services = (web("10.244.1.11"), web("10.244.1.11", name="other", ip="10.96.0.11"))
    assert machine.apply(*services, engine=machine.afresh(limits=Limits(0.0, 0))).converged, "endpoints go without a person's word"
    assert reaches("10.96.0.10", 80) == "10.244.1.11"
    again = machine.apply(*services, engine=machine.afresh())
    assert again.first.empty, "who knows nothing of before finds all in order"

    wanted = assign(all_kinds(), machine.wanted(services), again.seen)
    (table,) = (row for row in machine.wanted(services).rows("bpf_map_entry") if isinstance(row, ServiceTable))
    found = held(table.key.map.rpartition("/")[0])
    assert found.lists(table.services) == {"default/web:http/TCP IPv4 all": Count(4), "default/other:http/TCP IPv4 all": Count(1)}
    assert not any(found.drops.values())
    assert some(table.key.map.rpartition("/")[0], [table.services["default/web"]]) == {"default/web:http/TCP IPv4 all": Count(4)}
    shown = with_counts({"items": [{"name": "default/web"}, {"name": "default/gone"}]}, table)
    assert [one["counted"] for one in shown["items"]] == [{"connections": 4, "packets": 0, "bytes": 0}, None]
    assert (shown["drops"], shown["uncounted"]) == (found.drops, "")
    assert len(wanted.of("bpf_map_entry")) == 10 + len(found.fronts) + 2

    assert machine.unknown(engine=machine.afresh()).first.empty, "nobody says which there are: they stay"
    refused = machine.apply(section=False, engine=machine.afresh(limits=Limits(0.3, 2)))
    assert refused.last.refusal is not None, "that the whole section goes is a person's to confirm"
    gone = machine.apply(section=False, engine=machine.afresh())
    assert gone.converged
    assert list(Path(machine.root, "sys/fs/bpf").iterdir()) == []
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"), socket.create_connection(("10.96.0.10", 80), timeout=0.2):
        pass


def test_without_endpoints_it_is_refused_and_what_a_stranger_changes_is_put_right(machine: Machine) -> None:
    assert machine.apply(web()).converged
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("10.96.0.10", 80), timeout=5)
    (table,) = (row for row in machine.wanted((web(),)).rows("bpf_map_entry") if isinstance(row, ServiceTable))
    assert held(table.key.map.rpartition("/")[0]).drops["no_backend"] == 1

    assert machine.apply(web("10.244.1.10")).converged
    front = next(iter(table.services["default/web"].fronts))
    sh(f"bpftool map delete pinned {table.key.map} key hex {front.key.hex(' ')}")
    repaired = machine.apply(web("10.244.1.10"), engine=machine.afresh())
    assert [line for line in lines(repaired) if "pl_front_1" in line] == lines(repaired)
    assert len(lines(repaired)) == 1
    assert reaches("10.96.0.10", 80) == "10.244.1.10"


BALANCED = ("203.0.113.7", "2001:db8:7::7")


def balanced(*ranges: str) -> Service:
    return web("10.244.1.10")._replace(type="LoadBalancer", ingress_ips=BALANCED, source_ranges=ranges)


def told(machine: Machine, service: Service) -> tuple[ServiceTable, Held]:
    (table,) = (row for row in machine.wanted((service,)).rows("bpf_map_entry") if isinstance(row, ServiceTable))
    return table, held(table.key.map.rpartition("/")[0])


def counts(machine: Machine, service: Service) -> tuple[int, int]:
    """Connections that were let in, and those that were not."""
    table, found = told(machine, service)
    return sum(one.connections for one in found.lists(table.services).values()), found.drops["no_range"]


def asks(source: str) -> None:
    """Somebody on the wire begins a connection; what comes back is no matter here."""
    segment = frames.tcp((source, BALANCED[0]), (4000, 80))
    nic = bytes.fromhex(json.loads(sh("ip -j link show nic0"))[0]["address"].replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("wire0", 0))
        wire.send(nic + frames.ipv4(source, BALANCED[0], frames.TCP, segment)[6:])


def test_source_ranges_from_a_manifest_to_the_last_network(machine: Machine) -> None:
    first = balanced("0.0.0.0/0", "::/0")
    assert machine.apply(first).converged
    second = balanced("192.0.2.0/24", "192.0.2.128/25", "2001:db8::/32")
    changed = machine.apply(second)
    assert changed.converged, changed.errors
    assert [line.split()[4].rpartition("/")[2] for line in lines(changed)] == ["pl_range_1"] * 3 + ["pl_front_1"] * 4
    said = text(changed.first, "n1")
    assert ": from 192.0.2.0/24 · services: default/web" in said
    assert "203.0.113.7:80/tcp from outside → only in ranges " in said
    table, found = told(machine, second)
    assert all(found.holds(one, table.services["default/web"]) for one in table.services["default/web"].doors)
    assert machine.apply(second, engine=machine.afresh()).first.empty, "who knows nothing of before finds all in order"

    fewer = balanced("192.0.2.0/24", "2001:db8::/32")
    table, found = told(machine, fewer)
    wrong = [front_text(one.key) for one in table.services["default/web"].doors if not found.holds(one, table.services["default/web"])]
    assert wrong == ["203.0.113.7:80/tcp from outside"], "others than these are let in"
    for drops, (let_in, source) in enumerate([(1, "192.0.2.200"), (1, "192.0.3.1"), (2, "192.0.2.1"), (2, "198.51.100.1")]):
        asks(source)
        wait_until(lambda: counts(machine, fewer) == (let_in, (drops + 1) // 2), f"{source} is counted")  # noqa: B023
    narrowed = machine.apply(fewer)
    assert narrowed.converged
    assert [(line.split()[2], line.split()[4].rpartition("/")[2]) for line in lines(narrowed)] == [
        ("update", "pl_range_1"),
        ("update", "pl_front_1"),
        ("update", "pl_front_1"),
        ("delete", "pl_front_1"),
        ("delete", "pl_range_1"),
        ("delete", "pl_range_1"),
    ]
    own = next(line for line in lines(narrowed) if "update" in line and "pl_range_1" in line)
    anybody = own.replace(" key hex 98 00 00 00", " key hex 80 00 00 00")  # of IPv4: 32 of the id, 96 of the mapping, and none more
    for broken, engine in ((own.replace("update", "delete").partition(" value")[0], machine.afresh()), (anybody, None)):
        sh(broken)
        repaired = machine.apply(fewer, engine=engine)
        assert repaired.converged
        assert len(lines(repaired)) == 1
        assert machine.apply(fewer, engine=machine.afresh()).first.empty
    sh(anybody)
    assert machine.apply(fewer, engine=machine.afresh()).converged, "whoever knows nothing of before takes no ranges that let in others"
    asks("198.51.100.1")
    wait_until(lambda: counts(machine, fewer)[1] == 3, "the stranger is counted")

    assert machine.apply(first).converged
    assert told(machine, first)[1].ranges == {}
    assert machine.apply(section=False, engine=machine.afresh()).converged
    assert list(Path(machine.root, "sys/fs/bpf").iterdir()) == []
