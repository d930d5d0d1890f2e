"""What the programs of services counted, read from their maps whenever Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.engine.model import Wanted
from reconciler.engine.reader import ObservationFailed
from reconciler.intents.service_entries import ListName
from reconciler.kernel.service_counts import Count, Held, held
from reconciler.kinds.bpf_map_entry.services import Entries, ServiceTable


class Family(NamedTuple):
    """One metric: what of a count it tells."""

    name: str
    field: str
    meaning: str


LABELS = ("service", "port", "protocol")
COUNTED = (
    Family("plumbline_service_connections", "connections", "Connections to a service: of sockets here, and flows from outside."),
    Family("plumbline_service_packets", "packets", "Packets of flows from outside to a service, both ways."),
    Family("plumbline_service_bytes", "bytes", "Bytes of flows from outside to a service, both ways."),
)
DROPS = Family("plumbline_service_drops", "", "Packets and calls for services that went nowhere, by why.")


def table_of(wanted: Wanted) -> ServiceTable | None:
    """All services of a node; None where none are served."""
    return next((row for row in wanted.rows("bpf_map_entry") if isinstance(row, ServiceTable)), None)


class ServiceCounts(Collector):
    """Tells of services that something was counted of; of none where there is no section `services`."""

    def __init__(self) -> None:
        self._table: ServiceTable | None = None

    def to(self, wanted: Wanted) -> None:
        """The services from here on."""
        self._table = table_of(wanted)

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is read before somebody asks

    def collect(self) -> Iterator[Metric]:
        table, found = self._table, Held({}, {}, {})
        if table is not None:
            with suppress(ObservationFailed):  # the round that could not look at the maps says so
                found = held(table.key.map.rpartition("/")[0])
        return families(table.services if table else {}, found)


def families(services: Mapping[str, Entries], found: Held) -> Iterator[Metric]:
    """The metrics of what maps hold; families and policies of one port are summed up."""
    by_port: dict[tuple[str, ...], Count] = {}
    for name, count in found.lists(services).items():
        said = ListName.read(name)
        labels = (said.service, said.port, said.protocol)
        by_port[labels] = Count(*map(sum, zip(by_port.get(labels, Count()), count, strict=True)))
    for family in COUNTED:
        metric = CounterMetricFamily(family.name, family.meaning, labels=LABELS)
        for port, count in by_port.items():
            metric.add_metric(port, getattr(count, family.field))
        yield metric
    drops = CounterMetricFamily(DROPS.name, DROPS.meaning, labels=("reason",))
    for reason, number in found.drops.items():
        drops.add_metric((reason,), number)
    yield drops
