"""The daemon's container, but for the container: its capabilities and no others, nothing that it could write but what is mounted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.charts.manifests import DEPLOY, ROOT, objects, the
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

(CONTAINER,) = the(objects((DEPLOY / "plumbline.yaml").read_text()), "DaemonSet")["spec"]["template"]["spec"]["containers"]
CAPABILITIES = tuple(name.lower() for name in CONTAINER["securityContext"]["capabilities"]["add"])
ENVIRONMENT = {one["name"]: one["value"] for one in CONTAINER["env"] if "value" in one}
# As a runtime does it: /proc/sys read-only, the root too; below $1 what is mounted, the host's /proc/sys/net among it.
SETUP = """
mount --make-rprivate /
mkdir -p "$1/proc/sys/net" "$1/root/etc/cni/net.d"
mount --bind "$1" "$1"
mount --bind /proc/sys/net "$1/proc/sys/net"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
shift
exec "$@"
"""


def confined(folder: Path, capabilities: Sequence[str], *words: str, proc_sys: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `plumbline` with these capabilities alone; `folder` is all that it can write to."""
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    command = ["unshare", "-m", "sh", "-euc", SETUP, "sh", str(folder), "setpriv", "--no-new-privs", f"--bounding-set={bounding}",
               "--inh-caps=-all", sys.executable, "-m", "reconciler.cli", *words]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PLUMBLINE_STATE": str(folder / "state"), "TMPDIR": str(folder)}
    for name, value in ENVIRONMENT.items():
        env[name] = value.replace("/host", str(folder)) if name == "PLUMBLINE_PROC_SYS" else value
    if not proc_sys:
        env.pop("PLUMBLINE_PROC_SYS")
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(netns: str, tmp_path: Path) -> Path:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not here: capabilities cannot be taken away")
    network = yaml.safe_load((ROOT / "examples" / "quickstart" / "network.yaml").read_text())
    network["sysctls"] = {"net.ipv4.conf.all.send_redirects": 0}
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network))
    sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.send_redirects=1")
    sh("ip link add eth0 type veth peer name far && ip link set far up && ip link set eth0 up")
    sh("ip addr add 10.0.1.11/24 dev eth0 && ip addr add fd00:1::11/64 dev eth0 nodad && ip route add default via 10.0.1.1")
    return tmp_path


def apply(folder: Path, *capabilities: str, proc_sys: bool = True) -> subprocess.CompletedProcess[str]:
    return confined(
        folder, capabilities, "apply", str(folder / "network.yaml"), "--node", "n1", "--root", str(folder / "root"), proc_sys=proc_sys
    )


def test_what_the_chart_gives_is_enough(folder: Path) -> None:
    done = apply(folder, *CAPABILITIES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sh("sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.send_redirects").split() == ["1", "0"]
    assert "10.244.3.0/24" in sh("ip route show")
    assert list((folder / "root" / "etc" / "cni" / "net.d").iterdir())
    again = confined(folder, CAPABILITIES, "cleanup", "--yes", "--root", str(folder / "root"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "10.244.3.0/24" not in sh("ip route show")


def test_less_is_not_enough(folder: Path) -> None:
    done = apply(folder, *(name for name in CAPABILITIES if name != "net_admin"))
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr


def test_parameters_need_the_mount(folder: Path) -> None:
    done = apply(folder, *CAPABILITIES, proc_sys=False)
    assert done.returncode == 1
    assert "sysctl" in done.stderr
    assert sh("sysctl -n net.ipv4.ip_forward").strip() == "0"


def test_pings_need_net_raw_and_nothing_else(folder: Path) -> None:
    """`helm test`, whose pod has that alone."""
    words = ("verify", "--config", str(folder / "network.yaml"), "--node", "n1", "--within", "1")
    sh("ip link add plumb0 type veth peer name there && ip addr add 10.244.2.0/32 dev plumb0 && ip addr add 10.244.3.0/32 dev plumb0")
    sh("ip addr add fd00:10:244:2::/128 dev plumb0 nodad && ip addr add fd00:10:244:3::/128 dev plumb0 nodad")
    done = confined(folder, ("net_raw",), *words)
    assert done.stdout.count("ok ") == 4, done.stdout + done.stderr
