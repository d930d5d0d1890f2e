"""What this tier needs; where that is not there, one line says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import namespaces
from tests.bpf.places import Unavailable, cgroup_root
from tests.cni import runtime as cni
from tests.containerd import cri, image

VARIABLE = "PLUMBLINE_CONTAINERD"
_TOOLS = ("containerd", "ctr", "runc", "bpftool", "unshare", "nsenter")
_PACKAGES = "Debian: containerd runc busybox-static python3-grpcio containernetworking-plugins bpftool"


def skip_where_it_cannot_run() -> None:
    """For a module of tests, as a whole. Raises Unavailable where that is no reason to skip (PLUMBLINE_CONTAINERD=required)."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        pytest.skip("pods in a real containerd: make test-containerd runs them", allow_module_level=True)
    try:
        require()
    except Unavailable as reason:
        if said == "required":
            raise
        pytest.skip(f"pods in a real containerd: {reason}", allow_module_level=True)


def require() -> None:
    """What a containerd with pods needs. Raises Unavailable."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    missing += [str(path) for path in (image.BUSYBOX, cni.REFERENCE / "bridge", Path(cri.PYTHON)) if not path.exists()]
    if not missing and subprocess.run([cri.PYTHON, "-c", "import grpc"], capture_output=True, check=False).returncode != 0:
        missing.append("python3-grpcio")
    if missing:
        raise Unavailable(f"missing: {' '.join(missing)} ({_PACKAGES})")
    if not (Path(__file__).parents[2] / "reconciler/bpf/stub.o").exists():
        raise Unavailable("the eBPF programs are not built: make bpf")
    why = cni.why_not() or namespaces.why_not()
    if why:
        raise Unavailable(why)
    cgroup_root()
