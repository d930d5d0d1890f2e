"""The plain manifests and the Kustomize base, from the chart: `make manifests`. Needs helm.

usage: generate.py HELM [FOLDER]   (FOLDER: where to write, instead of beside this file)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "charts" / "plumbline"
NOTE = "# Made from charts/plumbline by `make manifests`; do not edit.\n"
HELMS_OWN = ("app.kubernetes.io/managed-by:", "app.kubernetes.io/instance:")  # say that Helm keeps it
KUBERNETES = "1.32"  # what the chart is rendered for
BASE = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"


def rendered(helm: str, *settings: str) -> dict[str, str]:
    """Every template that gives something, by the name of its file: its documents, without what is Helm's own."""
    said = [word for setting in settings for word in ("--set", setting)]
    command = [helm, "template", "plumbline", str(CHART), "--namespace", "plumbline-system", "--kube-version", KUBERNETES, *said]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    files: dict[str, str] = {}
    for document in done.stdout.split("\n---\n"):
        text = document.removeprefix("---\n")
        source, _, body = text.partition("\n")
        if "helm.sh/hook:" in body or not body.strip():
            continue
        lines = [line for line in body.strip("\n").splitlines() if not line.strip().startswith(HELMS_OWN)]
        name = source.rpartition("/")[2]
        files[name] = (files[name] + "---\n" if name in files else NOTE) + "\n".join(lines) + "\n"
    return dict(sorted(files.items()))


def write(helm: str, folder: Path) -> None:
    """deploy/base, deploy/cleanup and deploy/plumbline.yaml."""
    crds = {path.name: NOTE + path.read_text() for path in sorted((CHART / "crds").glob("*.yaml"))}
    files = {"namespace.yaml": (HERE / "base" / "namespace.yaml").read_text(), **crds, **rendered(helm)}
    _folder(folder / "base", files)
    without_note = [text.removeprefix(NOTE) for text in files.values()]
    (folder / "plumbline.yaml").write_text(NOTE + "---\n".join(without_note))
    _folder(folder / "cleanup", {"daemonset.yaml": rendered(helm, "uninstall.cleanup=true")["daemonset.yaml"]})


def _folder(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "kustomization.yaml").write_text(NOTE + BASE + "".join(f"  - {name}\n" for name in files))


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else HERE)
