"""What is attached to cgroups and devices, beside what others have there."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.kernel import bpf_lines
from reconciler.kernel.bpf_maps import PinnedMaps
from reconciler.kinds.cgroup_attachment import attachment
from reconciler.kinds.qdisc import qdisc
from reconciler.kinds.tc_filter import tc_filter
from tests.kinds.bpf.ground import Ground, ground, words
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
HERE = Path(__file__).parents[3]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path) as found:
        yield found


def attached(place: Ground) -> list[Any]:
    return [*place.all(), attachment(place.cgroup, "connect4", f"{place.program().key.path}/connect4")]


def theirs(place: Ground) -> str:
    """Where somebody pinned programs of theirs."""
    folder = f"{place.root}/sys/fs/bpf/theirs"
    sh(f"bpftool prog loadall {place.program(7).object} {folder}")
    return folder


def there(cgroup: str) -> int:
    return sh(f"bpftool cgroup show {cgroup}").count("cgroup_inet4_connect")


def test_attached_repaired_and_detached_with_nothing_wanted_any_more(place: Ground) -> None:
    rows = attached(place)
    made = place.converge(*rows)
    assert made.converged, made.errors
    assert (len(made.plans), there(place.cgroup)) == (2, 1)
    assert place.converge(*rows).first.empty
    pin = f"{place.program().key.path}/connect4"
    for broken in (
        f"bpftool cgroup detach {place.cgroup} connect4 pinned {pin}",
        f"rm {pin}",
        f"rm -r {place.program().key.path}",
        f"rm -r {place.pins}",
    ):
        sh(broken)
        repaired = place.converge(*rows)
        assert repaired.converged, (broken, repaired.errors)
        assert repaired.outcomes, broken
        assert there(place.cgroup) == 1, broken
    gone = place.converge()
    assert gone.converged, gone.errors
    assert there(place.cgroup) == 0
    assert not Path(place.pins).exists()


def test_another_version_is_attached_before_the_old_one_goes(place: Ground) -> None:
    assert place.converge(*attached(place)).converged
    old, new = place.program(), place.program(2)
    rows = [*(row for row in place.all() if row.key != old.key), new]
    slot = place.entry("pl_j_1", bytes(4), f"{new.key.path}/connect4")
    rows = [*(row for row in rows if row.key != slot.key), slot, attachment(place.cgroup, "connect4", f"{new.key.path}/connect4")]
    changed = place.converge(*rows)
    assert changed.converged, changed.errors
    done = words(changed)
    order = [
        next(n for n, line in enumerate(done) if part in line)
        for part in ("prog loadall", "map update", "cgroup attach", "cgroup detach", "rm -r")
    ]
    assert order == sorted(order), done
    assert there(place.cgroup) == 1


def test_programs_of_others_stay_beside_ours(place: Ground) -> None:
    sh(f"bpftool cgroup attach {place.cgroup} connect4 pinned {theirs(place)}/connect4 multi")
    assert place.converge(*attached(place)).converged
    assert there(place.cgroup) == 2
    assert place.converge().converged
    assert there(place.cgroup) == 1


@pytest.mark.parametrize(("mode", "above"), [("override", False), ("", False), ("", True)])
def test_one_that_lets_none_stand_beside_it_is_named(place: Ground, mode: str, above: bool) -> None:
    child = Path(place.cgroup) / "child"
    if above:
        child.mkdir()
    try:
        sh(f"bpftool cgroup attach {place.cgroup} connect4 pinned {theirs(place)}/connect4 {mode}")
        inner = place._replace(cgroup=str(child) if above else place.cgroup)
        tried = inner.converge(*attached(inner))
        assert not tried.converged
        assert any("program " in error and "stand beside it" in error for error in tried.errors), tried.errors
        assert not any("cgroup attach" in line.words for one in tried.outcomes for line in one.action.lines)
        assert there(place.cgroup) == 1
    finally:
        if above:
            child.rmdir()


def test_a_folder_that_is_no_cgroup_is_told(place: Ground, tmp_path: Path) -> None:
    odd = place._replace(cgroup=str(tmp_path))
    tried = odd.converge(*attached(odd))
    assert any("is no folder of cgroup version 2" in error for error in tried.errors), tried.errors


def filtered(place: Ground) -> list[Any]:
    ends = [tc_filter("", "v0", end, f"{place.program().key.path}/{end}") for end in ("ingress", "egress")]
    return [*place.all(), qdisc("", "v0"), *ends]


@pytest.fixture
def device(netns: str) -> str:
    sh("ip link add v0 type veth peer name v1")
    return netns


def test_filters_are_made_repaired_and_go_with_their_clsact(place: Ground, device: str) -> None:
    rows = filtered(place)
    made = place.converge(*rows)
    assert made.converged, made.errors
    assert len(made.plans) == 2
    assert place.converge(*rows).first.empty
    pin = f"{place.program().key.path}/ingress"
    for broken in (
        "tc filter del dev v0 ingress",
        "tc qdisc del dev v0 clsact",
        f"tc filter replace dev v0 ingress protocol all prio 94 handle 0x94 bpf pinned {pin}",
        f"rm -r {place.program().key.path}",
        f"rm -r {place.pins}",
    ):
        sh(broken)
        repaired = place.converge(*rows)
        assert repaired.converged, (broken, repaired.errors)
        assert repaired.outcomes, broken
        assert place.converge(*rows).first.empty
    gone = place.converge()
    assert gone.converged, gone.errors
    assert "clsact" not in sh("tc qdisc show dev v0")


def test_filters_of_others_stay_and_so_does_the_clsact_under_them(place: Ground, device: str) -> None:
    sh(f"tc qdisc add dev v0 clsact && tc filter add dev v0 egress protocol ip prio 5 bpf da pinned {theirs(place)}/egress")
    before = sh("tc filter show dev v0 egress")
    assert place.converge(*filtered(place)).converged
    assert place.converge().converged
    assert sh("tc filter show dev v0 egress") == before
    assert "clsact" in sh("tc qdisc show dev v0")


def test_an_empty_clsact_is_somebodys(place: Ground, device: str) -> None:
    sh("tc qdisc add dev v0 clsact")
    assert place.converge(*place.all()).converged
    assert "clsact" in sh("tc qdisc show dev v0")


def test_a_filter_that_appears_at_the_last_moment_keeps_the_clsact(place: Ground, device: str) -> None:
    assert place.converge(*filtered(place)).converged
    plan = place.plan()
    sh(f"tc filter add dev v0 egress protocol ip prio 5 bpf da pinned {theirs(place)}/egress")
    with place.node() as node:
        found = dict(zip((action.ref.kind for action in plan.actions), node.run(plan.actions), strict=True))
    assert found["tc_filter"] is None
    assert found["qdisc"] is not None
    assert "its clsact stays" in found["qdisc"].message
    assert "pref 5" in sh("tc filter show dev v0 egress")


def test_somebody_elses_program_at_our_place_is_a_conflict(place: Ground, device: str) -> None:
    sh("tc qdisc add dev v0 clsact")
    sh(f"tc filter add dev v0 egress protocol all prio 94 handle 0x94 bpf da pinned {theirs(place)}/ingress")
    tried = place.converge(*filtered(place))
    assert any("tc_filter v0 egress 94 0x94 exists and is not ours" in error for error in tried.errors), tried.errors
    assert "bpf" in sh("tc filter show dev v0 ingress"), "the other end is made"


def test_three_capabilities_are_enough(place: Ground) -> None:
    """To load, pin, fill, attach, observe and repair; only mounting the file system takes more."""
    rows = attached(place)
    script = f"""
import pickle, sys
from tests.kinds.bpf.ground import Ground
place = Ground(*{tuple(place)!r})
rows = pickle.load(sys.stdin.buffer)
for wanted in (rows, rows[:-1], rows, []):
    done = place.converge(*wanted)
    assert done.converged and done.outcomes, done.errors
    assert place.converge(*wanted).first.empty
"""
    drop = ["setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon", "--inh-caps=-all"]
    done = subprocess.run([*drop, sys.executable, "-c", script], cwd=HERE, input=pickle.dumps(rows), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.parametrize(
    "line",
    [
        "bpftool prog loadall /tmp/x.o /sys/fs/bpf/plumbline/x-0123456789ab",
        "bpftool prog load /tmp/x.o /sys/fs/bpf/plumbline/x-0123456789ab",
        "bpftool map create /tmp/x type hash key 4 value 4 entries 1 name x",
        "bpftool map update pinned /sys/fs/bpf/theirs key hex 00 value hex 00",
        "bpftool map update id 5 key hex 00 value hex 00",
        "bpftool cgroup attach /sys/fs/cgroup connect4 pinned /sys/fs/bpf/theirs multi",
        "bpftool cgroup attach /sys/fs/cgroup sysctl pinned /sys/fs/bpf/plumbline/x/y multi",
        "bpftool net attach xdp pinned /sys/fs/bpf/plumbline/x dev eth0",
        "bpftool batch file /tmp/x",
    ],
)
def test_lines_that_no_plan_has_do_not_run(place: Ground, line: str) -> None:
    rest = line.removeprefix("bpftool ")
    entries = bpf_lines.entries([rest])
    if entries is None:
        assert bpf_lines.refused(rest, bpf_lines.PACKAGE)
    else:
        (failure,) = bpf_lines.write(PinnedMaps(), entries)
        assert failure is not None
