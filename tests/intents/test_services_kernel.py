"""Services of network.yaml in a kernel: put in place, changed, found again, taken away; a socket is led, and counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.daemon.page.counts import with_counts
from reconciler.engine.assign import assign
from reconciler.engine.guard import Limits
from reconciler.engine.round import Result
from reconciler.facts.model import Backend, EndpointSlice, Service, ServicePort
from reconciler.kernel.service_counts import Count, held, some
from reconciler.kinds import all_kinds
from reconciler.kinds.bpf_map_entry.services import ServiceTable
from reconciler.spec.load import load_text
from tests.bpf.machine import Machine, machine_of_its_own
from tests.bpf.places import Unavailable
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
