"""What was counted of the services that the page shows, read from the maps when somebody looks, of those alone."""

from __future__ import annotations

from typing import Any

from reconciler.engine.reader import ObservationFailed
from reconciler.intents.service_entries import ListName
from reconciler.kernel.service_counts import Count, drops, some
from reconciler.kinds.bpf_map_entry.services import ServiceTable


def with_counts(said: dict[str, Any], table: ServiceTable | None) -> dict[str, Any]:
    """A part of the list of services, each with `counted` (null: nothing was), and `drops` of the whole node (null: not known)."""
    shown = [item["name"] for item in said["items"]]
    by_service: dict[str, Count] = {}
    went_nowhere: dict[str, int] | None = None
    trouble = ""
    if table is not None:
        maps = table.key.map.rpartition("/")[0]
        try:
            lists = some(maps, (table.services[name] for name in shown if name in table.services))
            went_nowhere = drops(maps)
        except ObservationFailed as failure:
            trouble, lists = str(failure), {}
        for name, count in lists.items():
            service = ListName.read(name).service
            by_service[service] = Count(*map(sum, zip(by_service.get(service, Count()), count, strict=True)))
    items = [{**item, "counted": by_service[item["name"]]._asdict() if item["name"] in by_service else None} for item in said["items"]]
    return {**said, "items": items, "drops": went_nowhere, "uncounted": trouble}
