"""What is told of an opponent."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["problem", "note", "unknown"]
Sort = Literal["", "systemd-networkd", "NetworkManager", "vxlan-device", "udp-port", "cni-file", "route", "forward-drop"]


class Opponent(NamedTuple):
    """Somebody on this host who undoes, shadows or blocks what plumbline does; named, not fought.

    level: "problem" is at work or will be; "note" can live beside us, and is good to know;
    "unknown" is a question that had no answer: `effect` says why, and nobody may read it as "none".
    """

    who: str  # "systemd-networkd", "VXLAN device flannel.1 (flannel)"
    effect: str  # what it does to us
    evidence: str  # how it shows: file and line, device, chain
    remedy: str  # the very setting or command
    level: Level = "problem"
    sort: Sort = ""  # for programs

    @property
    def what(self) -> str:
        """The whole in one line, without the remedy."""
        if self.level == "unknown":
            return f"{self.who}: could not be told: {self.effect}"
        return f"{self.who} {self.effect} ({self.evidence})" if self.evidence else f"{self.who} {self.effect}"


def unanswered(question: str, why: object, remedy: str = "") -> Opponent:
    """A question that had no answer."""
    return Opponent(question, str(why), "", remedy, "unknown")
