"""A daemon's /status for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.cluster.rollcall import Standing

MANY = 10  # lines of one sort


def status_text(said: Mapping[str, Any]) -> str:
    """The most important first: is it as it should be, why not, what to do."""
    return "\n".join(_lines(said))


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    spec, drift, last = said["spec"], said["drift"], said["lastRound"]
    yield f"{said['node']}: {'ready' if said['ready'] else 'not ready'}" + (" (dry run: nothing is changed)" if said["dryRun"] else "")
    if not said["ready"]:
        yield f"  {said['notReady']}"
    source = {"live": "", "disk": ", as it was kept on disk"}.get(spec["source"], "")
    yield f"content    {spec['digest'][:12] or 'none'} of {said['config']}{source}"
    yield from _listed("invalid", spec["problems"])
    for refusal in (spec["refusal"], said["refusal"]):
        if refusal:
            yield f"refused    {refusal['reason']}"
            yield f"           {refusal['confirm']}"
    yield from _listed("warning", spec["warnings"])
    yield from _listed("error", said["errors"])
    yield from _listed("conflict", said["conflicts"])
    yield from _listed("fight", [f"{one['row']}: {one['by'] or 'somebody'}, put back {one['times']} times" for one in said["fights"]])
    rollout = said.get("rollout") or {}  # a daemon of before has none
    yield from _listed("rollout", [line for line in (_undone(rollout), _turn(rollout)) if line])
    yield from _listed("opponent", [f"{one['level']}: {one['what']}; {one['remedy']}" for one in said["opponents"]])
    yield from _listed("state", said["state"]["problems"])
    yield f"drift      {drift['found']} rows changed by others since the start, {drift['repaired']} put back"
    yield from _listed("", [f"{one['at']} {one['row']} {one['was']}" for one in drift["recent"][-MANY:]])
    if last:
        why = ", ".join(last["triggers"])
        yield f"last round {last['at']}, {last['seconds'] * 1000:.0f} ms, {last['actions']} actions, because of {why}"


def _undone(rollout: Mapping[str, Any]) -> str:
    return f"network.yaml {rollout['undone'][:12]} cut this node off, and was undone" if rollout.get("undone") else ""


def _turn(rollout: Mapping[str, Any]) -> str:
    return f"it is this node's turn: Lease {rollout['holds']}" if rollout.get("holds") else ""


def _listed(name: str, lines: list[str]) -> Iterator[str]:
    for line in lines[:MANY]:
        yield f"{name:10} {line}"
    if len(lines) > MANY:
        yield f"{'':10} and {len(lines) - MANY} more; -o json shows all"


def standings_text(standings: Sequence[Standing]) -> str:
    """The nodes of a cluster, a line each, those that are not ready with the reason; and how many hold what."""
    lines = [("NODE", "READY", "CONTENT", "DRIFT", "SINCE", "WHY")]
    for one in standings:
        lines.append((one.node, "yes" if one.ready else "no", one.digest[:12] or "-", str(one.drift), one.since or "-", one.why))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    held = Counter(one.digest[:12] or "nothing" for one in standings)
    said = ", ".join(f"{count} with {digest}" for digest, count in held.most_common(5))
    return "\n".join([*table, f"{sum(one.ready for one in standings)} of {len(standings)} nodes are ready; {said}"])
