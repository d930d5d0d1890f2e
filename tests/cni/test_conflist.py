"""The file for the runtime, and what `check` and `install-cni` say of the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli import command
from reconciler.cli.checks.tools import PLUGINS, plugins
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.model import Absent, Ref
from reconciler.facts.model import Facts, Host, Node, NodeAddress
from reconciler.intents import Context, Remark
from reconciler.intents.cni import conflist, rows
from reconciler.kinds.file import FileKey
from reconciler.spec.cni import Cni
from reconciler.spec.load import load_text
from reconciler.spec.problems import SpecError

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {podCIDRs: [10.244.1.0/24]}}\n"
NODE = Node("n1", (NodeAddress("10.0.1.11", 24),), ("10.244.1.0/24",))


def test_the_plugin_is_named_only_where_somebody_said_so() -> None:
    assert [one["type"] for one in conflist(Cni(), ["10.244.1.0/24"], 1450)["plugins"]] == ["bridge", "portmap"]
    said = conflist(Cni(chained=True, cni_version="1.1.0"), ["10.244.1.0/24", "fd00::/64"], 1450)
    assert said["plugins"][-1] == {"type": "plumbline"}, "the last: its DEL comes first, while the others' work still stands"
    assert said["cniVersion"] == "1.1.0"
    segments = load_text(f"{HEAD}cni: {{}}\nsegments: {{vx1: {{vni: 101}}}}\n").spec
    assert segments.cni is not None
    assert not segments.cni.chained, "by itself it would stop every pod of a node that lacks the plugin"


@pytest.mark.parametrize("wait", ["0s", "101s", "1m", "10", "1.5s", "s"])
def test_a_pod_is_held_up_for_no_longer_than_a_kubelet_waits(wait: str) -> None:
    with pytest.raises(SpecError, match="allowed: 1s to 100s"):
        load_text(f"{HEAD}cni: {{wait: '{wait}'}}\n")


def test_before_the_first_round_of_a_boot_there_is_no_file() -> None:
    spec = load_text(f"{HEAD}cni: {{confDir: /var/lib/rancher/k3s/agent/etc/cni/net.d}}\n").spec
    made = {}
    for settled in (True, False):
        host = Host("eth0", 1500, root="/lab/n1", settled=settled)
        made[settled] = list(rows(Context(spec, Facts({"n1": NODE}, host), "n1", lambda path: "network.yaml:4")))
    (remark, absent), (there,) = made[False], made[True]
    assert isinstance(remark, Remark)
    assert isinstance(absent, Absent)
    assert remark.withholds == Ref("file", there.key) == Ref("file", absent.row.key)
    assert there.key == FileKey("/lab/n1/var/lib/rancher/k3s/agent/etc/cni/net.d/10-plumbline.conflist")


def test_check_looks_for_the_plugin_where_it_is_used(tmp_path: Path) -> None:
    spec = load_text(f"{HEAD}cni: {{chained: true}}\n").spec
    (folder := tmp_path / "opt/cni/bin").mkdir(parents=True)
    for name in PLUGINS:
        (folder / name).touch()
    (found,) = plugins(spec, str(tmp_path))
    assert (found.level, found.remedy) == ("problem", "plumbline install-cni --bin-dir /opt/cni/bin")
    (folder / "plumbline").touch()
    (found,) = plugins(spec, str(tmp_path))
    assert found.level == "ok"
    assert "plumbline" in found.what


def test_install_cni(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.daemon.cni.install.BUILT", plugin)
    run = CliRunner().invoke
    assert run(command, ["install-cni", "--bin-dir", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "plumbline").read_bytes() == plugin.read_bytes()
    assert run(command, ["install-cni", "--bin-dir", str(tmp_path), "--remove"]).exit_code == 0
    assert not (tmp_path / "plumbline").exists()
    (tmp_path / "plumbline").write_text("theirs")
    for wrong, why in ((tmp_path, "stays as it is"), (tmp_path / "none", "mount the host's folder")):
        failed = run(command, ["install-cni", "--bin-dir", str(wrong)]).exception
        assert isinstance(failed, CannotGoOn)
        assert why in str(failed)
