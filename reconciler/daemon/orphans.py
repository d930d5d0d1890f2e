"""After a change of endpoints: UDP sockets that still speak with one that is no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconciler.daemon.step import Report
from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.orphans import end_orphans
from reconciler.kinds.bpf_map_entry.services import ServiceTable


class Orphans:
    """Looks once for each state of the services, and at the start: what ended while nobody looked is found too."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._table: ServiceTable | None = None
        self._left: tuple[str, ...] = ()

    def after(self, report: Report) -> Report:
        """The report, with a warning where some sockets may live on."""
        table = next((row for row in report.wanted.rows("bpf_map_entry") if isinstance(row, ServiceTable)), None)
        host = report.context.facts.host if report.context is not None else None
        if table is not self._table and report.converged and host is not None:
            self._table, self._left = table, ()
            if table is not None:
                self._look(table.key.map.rpartition("/")[0], host.namespaces.values(), host.netns_cookie)
        return report._replace(warnings=(*report.warnings, *self._left)) if self._left else report

    def _look(self, maps: str, namespaces: Iterable[str], cookie: int) -> None:
        try:
            ended = end_orphans(maps, namespaces, cookie)
        except ObservationFailed as failure:
            self._left = (f"UDP sockets of endpoints that are gone may live on: {failure}",)
            return
        if ended.sockets:
            self._log.info("sockets ended", count=ended.sockets, why="they spoke UDP with endpoints that are gone")
        self._left = tuple(f"UDP sockets of endpoints that are gone may live on: {why}" for why in ended.left)
