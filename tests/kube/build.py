"""Programs of Kubernetes of our own: built from the Go module proxy, once, and kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SERVER, KUBELET = "kube-apiserver", "kubelet"


class Unavailable(Exception):
    """Why a program cannot be had here."""


def version() -> str:
    """As go.mod says it: "v1.36.3"."""
    found = re.search(r"k8s\.io/kubernetes (v[\d.]+)", (HERE / "go.mod").read_text())
    if found is None:
        raise Unavailable(f"{HERE / 'go.mod'} names no version of k8s.io/kubernetes")
    return found[1]


def binary(cache: Path, name: str) -> Path:
    """The server takes nine minutes of two cores the first time, the kubelet two more. Raises Unavailable."""
    made = cache / f"{name}-{version()}"
    if made.exists():
        return made
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise Unavailable(f"Go is not installed, and no {name} was built before (https://go.dev/dl)")
    cache.mkdir(parents=True, exist_ok=True)
    module = cache / "module"
    shutil.copytree(
        HERE, module, dirs_exist_ok=True, ignore=lambda folder, names: [one for one in names if not one.startswith(("go.", "tools."))]
    )
    package, said = "k8s.io/component-base/version", version()
    flags = f"-s -w -X {package}.gitVersion={said} -X {package}.gitMajor=1 -X {package}.gitMinor={said.split('.')[1]}"
    flags += f" -X k8s.io/client-go/pkg/version.gitVersion={said}"
    words = [
        "nice",
        "-n",
        "10",
        go,
        "build",
        "-trimpath",
        "-ldflags",
        flags,
        "-o",
        str(made.with_suffix(".new")),
        f"k8s.io/kubernetes/cmd/{name}",
    ]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"}
    done = subprocess.run(words, cwd=module, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{name} cannot be built: {done.stderr.strip()[-500:]}")
    made.with_suffix(".new").rename(made)
    return made
