"""Maps, programs and their entries: any state becomes any other in one round, and a packet may come between any two lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.model import Action
from reconciler.engine.round import Failure
from reconciler.kinds.bpf_folder import BpfFolder, BpfFolderKey
from reconciler.kinds.bpf_map import BpfMap, BpfMapKey
from reconciler.kinds.bpf_map_entry import BpfMapEntry, BpfMapEntryKey, layout
from reconciler.kinds.bpf_program import BpfProgram, BpfProgramKey
from reconciler.kinds.cgroup_attachment import attachment
from tests.effort import examples
from tests.laws.simulated import SimulatedNode
from tests.laws.test_laws import converge

ROOT = "/sys/fs/bpf/plumbline"
MAPS = f"{ROOT}/maps"
HOOK = layout.HOOKS["connect4"]


def entry(name: str, key: bytes, value: bytes | str) -> BpfMapEntry:
    return BpfMapEntry(BpfMapEntryKey(f"{MAPS}/{name}", key), value)


@st.composite
def states(draw: st.DrawFn) -> list[Any]:
    """Services whose fronts count what is there, programs of some version in the slots, a stub attached; or nothing."""
    if not draw(st.integers(0, 5)):
        return []
    version, stub = (f"{ROOT}/{name}-{draw(st.sampled_from(['0', '1']))}23456789abc" for name in ("sock", "stub"))
    size = draw(st.sampled_from([64, 64, 64, 128]))
    names = (layout.FRONTS, layout.BACKENDS)
    rows: list[Any] = [BpfFolder(BpfFolderKey(ROOT)), BpfFolder(BpfFolderKey(MAPS))]
    rows += [BpfMap(BpfMapKey(f"{MAPS}/{name}"), "hash", 8, 8, size) for name in names]
    rows.append(BpfMap(BpfMapKey(f"{MAPS}/{HOOK}"), "prog_array", 4, 4, 1))
    rows.append(BpfProgram(BpfProgramKey(stub), ("connect4",), (BpfMapKey(f"{MAPS}/{HOOK}"),), "/o/stub.o"))
    rows.append(
        BpfProgram(BpfProgramKey(version), ("connect4",), tuple(BpfMapKey(f"{MAPS}/{name}") for name in sorted(names)), "/o/sock.o")
    )
    rows.append(entry(HOOK, layout.array_key(0), f"{version}/connect4"))
    rows.append(attachment("/sys/fs/cgroup", "connect4", f"{stub}/connect4"))
    lists = draw(st.dictionaries(st.integers(1, 3), st.lists(st.integers(1, 6), max_size=4, unique=True), max_size=3))
    for number, backends in lists.items():
        hosts = enumerate(backends)
        rows += [
            entry(layout.BACKENDS, layout.slot_key(number, slot), layout.backend_value(layout.address(f"10.1.1.{host}"), 80, 0))
            for slot, host in hosts
        ]
    for port in draw(st.sets(st.integers(1, 3))) if lists else ():
        number = draw(st.sampled_from(sorted(lists)))
        service = layout.Service(number, len(lists[number]), 0, 0)
        rows.append(entry(layout.FRONTS, layout.front_key(layout.address("10.96.0.1"), port, 6, 0), layout.front_value(service)))
    return rows


class Watched(SimulatedNode):
    """Looks, after every line, at what a packet would meet. (Of a map without its pin it still meets what was in it.)"""

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        return [self._watched(action) for action in actions]

    def _watched(self, action: Action) -> Failure | None:
        failure = self._one(action)
        entries = {(row.key.map, row.key.key): row.value for row in self.rows["bpf_map_entry"]}
        pinned = {row.key.name for row in self.rows["bpf_map"]}
        for (path, _), value in entries.items():
            if layout.BACKENDS in pinned and path == f"{MAPS}/{layout.FRONTS}":
                number, count, _, _ = layout.service_of(value)
                missing = [slot for slot in range(count) if (f"{MAPS}/{layout.BACKENDS}", layout.slot_key(number, slot)) not in entries]
                assert not missing, f"a front counts {count} backends and {missing} are not there, after {action.lines}"
        return failure


@examples(150)
@given(states(), states())
def test_any_state_becomes_any_other_and_is_whole_between_any_two_lines(before: list[Any], after: list[Any]) -> None:
    node = Watched()
    for wanted in (before, after):
        result = converge(node, wanted)
        assert result.converged, result.errors
        assert all(outcome.failure is None for outcome in result.outcomes), [one for one in result.outcomes if one.failure]
        assert len(result.plans) <= 2, "one pass is enough"
    assert converge(node, []).converged
    assert not any(node.rows.values())
