"""A pull request that changes what goes over the wire says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli import command

TEXT = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}
  n2: {address: 10.0.2.12/24, podCIDRs: [10.244.2.0/24]}
fabric: {podNetwork: [10.244.0.0/16], overlay: {vni: 4096}}
"""


@pytest.mark.parametrize(("change", "says"), [("vni: 5000", True), ("vni: 4096, port: 8472", True), ("vni: 4096, mtu: 1400", False)])
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_plan_of_a_change_names_the_partition(tmp_path: Path, change: str, says: bool, form: str) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(TEXT)
    new.write_text(TEXT.replace("vni: 4096", change))
    done = CliRunner().invoke(command, ["plan", str(new), "--from", str(old), "-o", form])
    assert ("partition: fabric.overlay." in done.output) is says
