"""What one daemon has to do with the Kubernetes API: what it hears there, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.cluster.known import Known, Report
from reconciler.cluster.publisher import ROLLED_BACK, Published, Publisher
from reconciler.cluster.reflector import Timing
from reconciler.cluster.rollout import Rollout
from reconciler.cluster.transport import Api
from reconciler.daemon.live import Live
from reconciler.daemon.publish import published
from reconciler.daemon.settings import Settings
from reconciler.daemon.status import Status


class Link:
    """Its methods wait for no answer of the API; only `others` do, briefly."""

    def __init__(self, settings: Settings, api: Api, report: Report, timing: Timing = Timing()) -> None:
        self._api = api
        self.live = Live(settings, api, report, timing)
        told = settings.cluster and not settings.dry_run
        self.others = Rollout(api, settings.node) if told else None
        self._publisher = Publisher(api, settings.node, report, written=self._written) if told else None

    def start(self, changed: Callable[[], None]) -> None:
        """`changed`: from any thread, whenever something else is known."""
        self.live.start(changed)
        if self._publisher is not None:
            self._publisher.start()

    @property
    def known(self) -> list[Known[Any]]:
        return self.live.known

    def publish(self, status: Status) -> None:
        """A round has ended."""
        if self._publisher is not None:
            self._publisher.tell(published(status))

    def _written(self, said: Published) -> None:
        if self.others is not None:
            self.others.told(said.labels.get(ROLLED_BACK, ""))

    def close(self) -> None:
        self.live.close()
        if self._publisher is not None:
            self._publisher.stop()
        self._api.close()
