"""What `check` says of one thing that it looked at."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from reconciler.engine.model import Plan, Seen, Wanted
from reconciler.engine.reader import Reader
from reconciler.intents import Context

Level = Literal["ok", "note", "problem", "unknown"]


class Finding(NamedTuple):
    """level "unknown": the question had no answer, which is no "ok"."""

    level: Level
    area: str  # tools, kernel, mtu, sysctls, reach, plan, cni, or the sort of an opponent
    what: str
    remedy: str = ""
    evidence: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON; the names are stable."""
        return {"level": self.level, "area": self.area, "what": self.what, "evidence": self.evidence, "remedy": self.remedy}


class Looked(NamedTuple):
    """All that the checks may look at: what is wanted of this node, and what was seen of it."""

    context: Context
    wanted: Wanted
    plan: Plan
    seen: Seen
    io: Reader
    root: str
