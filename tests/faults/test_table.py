"""Every scenario under every fault.

After each: converged, or an error that names the row; nothing foreign touched;
nothing lost: what is not as it should be was reported, and once the fault has
passed a plumbline without memory puts it right.

By default a diagonal through the table, which has every fault and every scenario
in it; with PLUMBLINE_FAULTS=all (`make faults`) every cell.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.model import Plan, Ref, Wanted
from reconciler.engine.reader import Scope, scope_of
from reconciler.engine.round import Result
from reconciler.kinds import all_kinds
from tests.faults import daemon_faults, device_faults, dump_faults, host_faults, outlived, tool_faults
from tests.faults.engine import engine, settle
from tests.faults.scenarios import SCENARIOS, Scenario, foreign, ours, plant
from tests.faults.strike import Fault, Site
from tests.namespaces import fresh_namespace, sh
from tests.safety.node import scope

pytestmark = pytest.mark.kernel

FAULTS = (*tool_faults.FAULTS, *dump_faults.FAULTS, *device_faults.FAULTS, *host_faults.FAULTS, *outlived.FAULTS)


def cells(faults: Sequence[Any], concerns: Callable[[Any, Scenario], bool]) -> list[Any]:
    """The scenarios under each fault: all of them, or every third."""
    found: list[Any] = []
    for number, fault in enumerate(faults):
        met = [scenario for scenario in SCENARIOS if concerns(fault, scenario)]
        if os.environ.get("PLUMBLINE_FAULTS") != "all":
            met = met[number % 3 :: 3] or met[:1]
        found += [pytest.param(fault, scenario, id=f"{fault}-{scenario}") for scenario in met]
    return found


CELLS = cells(FAULTS, Fault.concerns)
WATCHED = cells(daemon_faults.FAULTS, lambda fault, scenario: not scenario.special)
CLONE_FS, CLONE_NEWNS = 0x200, 0x20000  # include/uapi/linux/sched.h


def test_every_fault_meets_a_scenario_and_every_scenario_many_faults() -> None:
    met = [cell.values for cell in (*CELLS, *WATCHED)]
    assert {fault.name for fault, _ in met} == {fault.name for fault in (*FAULTS, *daemon_faults.FAULTS)}
    assert all(sum(one is scenario for _, one in met) > 5 for scenario in SCENARIOS), "a scenario meets too few"


@contextmanager
def played(scenario: Scenario, folder: Path, prepare: Callable[[Path], None] | None = None) -> Iterator[Site]:
    """A node of its own, as the scenario begins."""
    root = folder / "root"
    root.mkdir()
    with fresh_namespace():
        if prepare is not None:
            prepare(root)
        plant(root)
        if scenario.before:
            settle(scope(scenario.before, root=str(root)))
        if scenario.broken:
            sh(scenario.broken)
        yield Site(scenario, folder, root)


def in_own_mounts(call: Callable[[], None]) -> None:
    """What is mounted meanwhile is seen by nobody else, and gone afterwards."""

    def work() -> None:
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_FS | CLONE_NEWNS) == 0
        sh("mount --make-rprivate /")
        call()

    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work).result()


@pytest.fixture(scope="session")
def undisturbed(namespaces_can_be_made: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scenario], str]:
    """What is ours when a scenario has ended and nothing went wrong."""
    known: dict[str, str] = {}

    def after(scenario: Scenario) -> str:
        if scenario.name not in known:
            with played(scenario, tmp_path_factory.mktemp("undisturbed")) as site:
                result = settle(scenario.scope(site.root))
                assert {one.action.change.kind for one in result.outcomes} >= scenario.changes, "the scenario says what it changes"
                known[scenario.name] = ours(site.root)
        return known[scenario.name]

    return after


@pytest.mark.parametrize(("fault", "scenario"), CELLS)
def test_cell(fault: Fault, scenario: Scenario, undisturbed: Callable[[Scenario], str], tmp_path: Path) -> None:
    expected = undisturbed(scenario)

    def cell() -> None:
        with played(scenario, tmp_path, fault.prepare) as site:
            theirs = foreign(site.root)
            wanted = scenario.scope(site.root)
            with fault.begin(site) as strike:
                result = engine(strike.node).converge(with_rows(wanted, strike.also))
                assert strike.used(result), f"the fault did not strike: {result.errors}"
                assert not (touched := strike.theirs()), f"what appeared meanwhile was touched: {touched}"
            after = settle(wanted)
            assert unreported(result, after.first) == [], result.errors
            assert ours(site.root) == expected
            assert sorted(theirs - foreign(site.root)) == [], "something foreign was touched"

    in_own_mounts(cell)


@pytest.mark.parametrize(("fault", "scenario"), WATCHED)
def test_cell_of_a_daemon(
    fault: daemon_faults.DaemonFault, scenario: Scenario, undisturbed: Callable[[Scenario], str], tmp_path: Path
) -> None:
    expected = undisturbed(scenario)

    def cell() -> None:
        with played(scenario, tmp_path) as site:
            theirs = foreign(site.root)
            assert fault.play(site), "the fault did not strike"
            assert ours(site.root) == expected
            assert sorted(theirs - foreign(site.root)) == [], "something foreign was touched"

    in_own_mounts(cell)


def with_rows(scope: Scope, rows: tuple[Any, ...]) -> Scope:
    """The scope with more rows wanted, in whatever namespaces they are."""
    if not rows:
        return scope
    kinds = all_kinds()
    wanted = {kind: dict(scope.wanted.of(kind)) for kind in scope.wanted.kinds()}
    for row in rows:
        wanted.setdefault(kinds.of(row).name, {})[row.key] = row
    return scope_of(Wanted(wanted), scope.root)


def unreported(result: Result, left: Plan) -> list[Ref]:
    """Rows that were not as they should be, and that no error named: neither them nor what they hang on."""
    said = "\n".join(result.errors)
    unseen = {name for name in all_kinds() if f"could not be observed: {name}:" in said}
    needs = {one.ref: one.needs for one in left.actions}

    def told(ref: Ref) -> bool:
        return str(ref) in said or ref.kind in unseen or any(map(told, needs.get(ref, ())))

    return [ref for ref in needs if not told(ref)]
