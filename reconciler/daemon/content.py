"""What the daemon is told to do: a network.yaml with its facts, that can be put in force or not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from reconciler.confirm.commit import Trial
from reconciler.confirm.trials import Trials
from reconciler.daemon.suspicion import Inventory
from reconciler.facts.model import Host, Node, Pod
from reconciler.intents import Compiled, Context
from reconciler.spec.services import Services


class Rejected(Exception):
    """Content that must not be put in force; `problems` say why, each with its place and remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Inputs(Inventory, Protocol):
    """Content that is valid as far as can be told without the host."""

    @property
    def digest(self) -> str:
        """Of the spec's text."""

    @property
    def content(self) -> str:
        """What a person confirms when it is suspicious (what was undone goes by `digest`): covers the spec and which nodes there are."""

    @property
    def stale(self) -> bool:
        """True for content that was kept on disk: it may be out of date."""

    @property
    def node(self) -> Node: ...
    @property
    def needs_uplink(self) -> bool: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def pods(self) -> tuple[Pod, ...] | None:
        """None: nobody said which there are."""

    @property
    def devices(self) -> Collection[str]:
        """The devices that the host has to tell of."""

    @property
    def pod_netns(self) -> str:
        """How their namespaces are found (`membership.netns`)."""

    @property
    def services(self) -> Services | None:
        """The section `services`."""

    def same(self, other: object) -> bool:
        """Whether it says the very same, so that nothing has to be compiled again."""

    def context(self, host: Host) -> Context | None:
        """What intents are given."""

    def compile(self, host: Host) -> Compiled:
        """What this node should hold. Raises IntentError."""

    def packed(self) -> bytes:
        """All of it, to be kept on disk."""

    def trial(self, trials: Trials, look: Callable[[], Host]) -> Trial:
        """By what a change that can cut the node off is judged. Raises ObservationFailed."""
