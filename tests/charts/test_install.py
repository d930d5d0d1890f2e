"""docs/install.md: its very commands."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from reconciler.spec.load import load_texts
from tests.charts.manifests import KUBERNETES, ROOT, objects, run_helm, the
from tests.charts.structure import mistakes
from tests.charts.test_options import known_options

PAGE = (ROOT / "docs" / "install.md").read_text()
HELM = re.findall(r"`?(helm (?:install|upgrade) [^`\n]+?)`?(?: \||$| \()", PAGE, re.MULTILINE)
PATHS = re.findall(r"(?<![\w/.])((?:deploy|charts|examples|tests)/[\w./-]*\w)", PAGE)


def test_the_page_has_its_ways() -> None:
    assert len(HELM) >= 12


@pytest.mark.parametrize("line", sorted(set(HELM)))
def test_helm_renders_what_the_page_says(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verb, name, chart, *options = shlex.split(line)[1:]
    assert verb in ("install", "upgrade")
    shutil.copy(ROOT / "examples" / "quickstart" / "network.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    options = [option for option in options if option != "--reset-then-reuse-values"]
    done = run_helm("template", name, str(ROOT / chart), "--kube-version", KUBERNETES, *options)
    assert done.returncode == 0, done.stderr
    things = objects(done.stdout)
    assert [mistake for one in things for mistake in mistakes(one)] == []
    assert the(things, "DaemonSet")["metadata"]["namespace"] == "plumbline-system"


def test_what_the_page_names_is_there() -> None:
    assert PATHS
    assert [path for path in PATHS if not (ROOT / path).exists()] == []


def test_options_of_the_command_exist() -> None:
    for line in re.findall(r"^plumbline .*$", PAGE, re.MULTILINE):
        verb, *words = shlex.split(line, comments=True)[1:]
        assert {word for word in words if word.startswith("--")} <= known_options(verb)


def test_k3s_folders_are_ones_that_network_yaml_takes() -> None:
    (said,) = re.findall(r"`cni: (\{confDir: .*?\})`", PAGE)
    spec = load_texts([(f"apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\ncni: {said}\n".encode(), "network.yaml")]).spec
    assert spec.cni is not None
    (line,) = (one for one in HELM if spec.cni.conf_dir in one)
    assert f"host.cniBinDir={spec.cni.bin_dir}" in line
