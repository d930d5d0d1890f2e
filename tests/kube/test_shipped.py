"""Everything that we ship, before a real API server's strict eyes: an unknown field, twice one, a value that it does not take."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.cluster.transport import Trouble
from tests.charts.manifests import DEPLOY, ROOT, objects, template
from tests.kube.conftest import BINARY
from tests.kube.real import RealApi

pytestmark = pytest.mark.skipif(not BINARY, reason="no real API server: make test-kube")
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


def kustomized(folder: str) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here: Kustomize itself is not asked")
    return objects(
        subprocess.run([kubectl, "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=True, timeout=60).stdout
    )


WHAT: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "plain": lambda: objects((DEPLOY / "plumbline.yaml").read_text()),
    "cleanup": lambda: objects((DEPLOY / "cleanup" / "daemonset.yaml").read_text()),
    "argocd": lambda: kustomized("examples/argocd/cluster"),
    "flux": lambda: kustomized("examples/flux/cluster"),
    "chart": lambda: objects(template()),
    "chart, all on": lambda: objects(
        template("features.segments=true", "features.cniPlugin=true", "cluster.configmapWatch=true", "metrics.dashboard.enabled=true", 'http.listen="node"',
                 'appArmorProfile={"type": "Unconfined"}', 'maxUnavailable="10%"', 'facts.existing="nodes"', 'image.pullSecrets=[{"name": "a"}]')
    ),
    "chart, cleaning up": lambda: objects(template("uninstall.cleanup=true", "features.segments=true")),
}  # fmt: skip


@pytest.mark.parametrize("what", WHAT)
def test_a_real_one_takes_it(real: RealApi, what: str) -> None:
    real.install(WHAT[what](), **STRICT)


def test_a_real_one_refuses_a_misspelt_field(real: RealApi) -> None:
    """The check itself."""
    (one,) = WHAT["cleanup"]()
    one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(Trouble, match="readOnlyRootFileSystem"):
        real.install([one], **STRICT)
