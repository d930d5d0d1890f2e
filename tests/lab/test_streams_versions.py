"""The version before this one, really run: upgrade and downgrade under packets, and both in one cluster.

Its code comes from this repository's history; `tests/compat/previous` names the commit.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.lab.nodes import members, plan_node, text_network
from reconciler.lab.probe import probe, stream
from tests.lab.daemons import TODAY, Cluster, cluster
from tests.lab.flood import flood
from tests.lab.test_streams import D1, D2, N1, N2, moved, node, spec, targets

pytestmark = pytest.mark.lab

COMMIT = TODAY / "tests" / "compat" / "previous"
SMALL = node(3, 2, ", mtu: 1400")
CNI = "cni: {}\n"
FULL = spec(N1, N2, SMALL, more=CNI)
EDITS = (
    spec(D1, D2, SMALL, more=CNI),  # a pair goes direct: both ends must agree
    *(spec(N1, moving, SMALL, more=CNI) for moving in moved(2, 1, 12, 22)),
    *(spec(N1, moving, SMALL, more=CNI) for moving in moved(2, 1, 22, 12)),
    spec(N1, N2, SMALL, node(9, 3), more=CNI),
    spec(N1, N2, SMALL, more=CNI, overlay="ttl: 32"),
    spec(N1, N2, SMALL, more=CNI),
)


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as it was; skips where this checkout has no such history."""
    commit = next(line for line in COMMIT.read_text().split("\n") if line and not line.startswith("#"))
    git = ("git", "-c", "safe.directory=*", "-C", str(TODAY))
    try:
        done = subprocess.run([*git, "archive", "--format=tar", commit, "reconciler"], capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"the version before is in the history of this repository, and git cannot be started: {error.strerror}")
    if done.returncode != 0:
        pytest.skip(f"this checkout has no commit {commit[:12]}, the version before: {done.stderr.decode(errors='replace').strip()}")
    folder = tmp_path_factory.mktemp("previous")
    packed = folder / "reconciler.tar"
    packed.write_bytes(done.stdout)
    shutil.unpack_archive(packed, folder)
    return folder


def runs(daemons: Cluster, node: str) -> Path:
    """The folder of the code that a node's daemon really runs, as the process itself has it."""
    return Path(f"/proc/{daemons.daemons[node].process.pid}/cwd").readlink()


def all_stable(daemons: Cluster) -> None:
    """Every node, whatever its version, looked again after all others had converged, and found nothing to do and nothing changed."""
    for name, daemon in daemons.daemons.items():
        said = daemon.looked_again()
        assert said["ready"], (name, said)
        assert said["lastRound"]["actions"] == 0, (name, said)
        assert said["drift"]["found"] == 0, (name, said)


def test_upgrade_and_downgrade_lose_no_packet(name: str, previous: Path) -> None:
    lab = labs.raise_lab(name, [text_network(FULL).cluster])
    everywhere: Mapping[str, Path] = dict.fromkeys(("n1", "n2", "n3"), previous)
    with cluster(lab, FULL, everywhere) as daemons:
        assert runs(daemons, "n1") == previous
        with stream(lab.topology) as pings, flood(lab.topology.pods[0], targets(lab, daemons)) as found:
            for code in (TODAY, previous, TODAY):  # up, down over what the new one made, up again
                for one in everywhere:
                    deleted = daemons.restart(one, code=code).done()["delete"]
                    assert deleted == 0 or code == previous, f"{one}: rows of the version before were taken away"
                    assert runs(daemons, one) == code
                all_stable(daemons)
        assert found.sent
        assert found.lost == 0, str(found)
        assert pings.lost == 0, pings.losses
        assert probe(lab.topology, full_size=True).ok
        for one in members(lab, text_network(FULL)):
            assert plan_node(lab, text_network(FULL), one).empty


@pytest.mark.parametrize("old", [("n1",), ("n2", "n3")], ids=" ".join)
def test_both_versions_in_one_cluster(name: str, previous: Path, old: tuple[str, ...]) -> None:
    lab = labs.raise_lab(name, [text_network(text).cluster for text in (FULL, *EDITS)])
    with cluster(lab, FULL, dict.fromkeys(old, previous)) as daemons:
        assert {one for one in daemons.daemons if runs(daemons, one) == previous} == {*old}
        for text in (FULL, *EDITS):
            with stream(lab.topology, nodes=daemons.daemons) as pings:
                daemons.edit(text)
                all_stable(daemons)
            matrix = probe(lab.topology, nodes=daemons.daemons, full_size=True)
            assert matrix.ok, f"{text}\n{matrix.text}"
            assert pings.lost == 0, f"{text}\n{pings.losses}"
