"""Reading what we ship: manifests, and what Helm makes of the chart."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "plumbline"
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.32"  # what the chart is rendered for; `helm template` has no cluster to ask


class _Strict(yaml.SafeLoader):
    """One key twice is a mistake, as it is for Kubernetes' own strict decoding."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def objects(text: str) -> list[dict[str, Any]]:
    """Every object of a text of several documents."""
    return [one for one in yaml.load_all(text, Loader=_Strict) if one is not None]


def the(things: list[dict[str, Any]], kind: str, name: str = "plumbline") -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = (one for one in things if one["kind"] == kind and one["metadata"]["name"] == name)
    return found


@cache
def helm() -> str:
    """The path of helm; skips the test where there is none."""
    found = os.environ.get("PLUMBLINE_HELM") or shutil.which("helm", path=f"{os.environ['PATH']}:{ROOT / '.cache' / 'bin'}")
    if not found:
        pytest.skip("helm is not here: the chart is not rendered (.ci/helm builds it where Go is)")
    return found


def run_helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *words], capture_output=True, text=True, check=False, timeout=60)


@cache
def template(*settings: str) -> str:
    """What Helm makes of the chart with these settings. Fails the test where it refuses."""
    said = [word for one in settings for word in ("--set-json", one)]
    done = run_helm("template", "plumbline", str(CHART), "-n", "plumbline-system", "--kube-version", KUBERNETES, *said)
    assert done.returncode == 0, done.stderr
    return done.stdout
