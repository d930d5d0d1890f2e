"""python -m tests.kube [PYTEST ARGUMENT…]: the tests of the API on a real one. Where none can be had, the reason, and status 0.

PLUMBLINE_KUBE=required makes that a failure. What is built is kept in .cache/kube. Pods in a real kubelet need a container runtime
too (tests/containerd); what is missing is named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kube.build import KUBELET, SERVER, Unavailable, binary

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/kube"
REQUIRED = os.environ.get("PLUMBLINE_KUBE") == "required"


def main(arguments: list[str]) -> int:
    try:
        for tool, package in (("etcd", "etcd-server"), ("openssl", "openssl")):
            if shutil.which(tool) is None:
                raise Unavailable(f"{tool} is not installed (apt-get install {package})")
        server = binary(CACHE, SERVER)
    except Unavailable as reason:
        print(f"the tier of a real Kubernetes API is skipped: {reason}", file=sys.stderr)
        return 1 if REQUIRED else 0
    found = {"PLUMBLINE_KUBE_APISERVER": str(server)}
    try:
        found["PLUMBLINE_KUBE_KUBELET"] = str(binary(CACHE, KUBELET))
    except Unavailable as reason:
        print(f"the tests with a real kubelet are skipped: {reason}", file=sys.stderr)
        if REQUIRED:
            return 1
    if arguments == ["--build"]:
        return 0
    if not any(Path(ROOT, one.partition("::")[0]).exists() for one in arguments):
        arguments = ["tests/kube", *arguments]
    words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "not small", *arguments]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **found}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
