"""A containerd of a test's own: /run and /var/lib are its own, so it and plumbline stand in their usual places there."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bpf.places import cgroup_root
from tests.cni.runtime import REFERENCE
from tests.containerd import image
from tests.containerd.cri import Cri, Refused

HERE = Path(__file__).parents[2]
SOCKET = "/run/containerd/containerd.sock"
CONFIG = """\
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "{folder}/cni/net.d"
  bin_dir = "{folder}/cni/bin"
"""
# Nothing of it is seen outside: a mount namespace's mounts are private, and end with its last process. Whoever made it holds
# its standard input open; when that ends, however it ends, so does all that ran here.
MOUNTS = """\
mount -t tmpfs run /run && mount -t tmpfs lib /var/lib && mkdir /run/netns && mount -t bpf bpf "$0"/bpf
echo made && read -r _ || echo 1 > "$1"/cgroup.kill
"""
EMPTY = "umount -l /run; mount -t tmpfs run /run; mkdir /run/netns"
JOIN = 'echo $$ > "$0"/cgroup.procs && exec "$@"'


class Room:
    """Where it runs: `before` brings a command there. In the network namespace of the thread that made it."""

    def __init__(self, folder: Path, cgroup: Path, holder: int) -> None:
        self.folder, self.cgroup = folder, cgroup
        enter = ("nsenter", f"--mount=/proc/{holder}/ns/mnt")  # the working folder becomes /
        self.before = (*enter, "sh", "-c", JOIN, str(cgroup / "node"), "env", f"PYTHONPATH={HERE}")
        self.cri = Cri(self.before, SOCKET)

    @property
    def pods(self) -> str:
        """The cgroup that pods are below, as a kubelet says it."""
        return f"/{self.cgroup.name}/pods"

    def run(self, *words: str) -> str:
        """What a command prints there."""
        done = subprocess.run([*self.before, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ctr(self, *words: str) -> str:
        """What containerd's own command prints of what the kubelet's side has made."""
        return self.run("ctr", "--namespace", "k8s.io", *words)

    def cut_power(self) -> None:
        """What was in memory is gone, and /run with it: every process that was started here, the cgroups of pods."""
        node = self.cgroup / "node"
        (self.cgroup / "cgroup.kill").write_text("1")
        for folder in sorted((one for top in _tops(self.cgroup) for one in _below(top) if one != node), reverse=True):
            _remove(folder)
        self.run("sh", "-euc", EMPTY)

    def pod_cgroups(self) -> list[Path]:
        """Those of pods and containers, in every hierarchy."""
        return [folder for top in _tops(self.cgroup) for folder in _below(top / "pods")]


@contextmanager
def made(folder: Path, name: str, plugin: Path) -> Iterator[Room]:
    """With a containerd that answers, and the image in it."""
    for one in ("bpf", "cni/bin", "cni/net.d"):
        (folder / one).mkdir(parents=True)
    for program in (*(REFERENCE / one for one in ("bridge", "host-local", "portmap", "loopback")), plugin):
        shutil.copy(program, folder / "cni/bin")
    (folder / "config.toml").write_text(CONFIG.format(image=image.NAME, folder=folder))
    image.write(folder / "image.tar")
    cgroup = cgroup_root() / name
    try:
        (cgroup / "node").mkdir(parents=True)
        with _held(folder, cgroup) as room, containerd(room):
            yield room
    finally:
        _end(cgroup)


@contextmanager
def _held(folder: Path, cgroup: Path) -> Iterator[Room]:
    words = ["unshare", "--mount", "sh", "-euc", MOUNTS, str(folder), str(cgroup)]
    # sessions of their own: Ctrl-C is for the test, which then ends them in order
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "made\n"
        yield Room(folder, cgroup, holder.pid)


@contextmanager
def containerd(room: Room) -> Iterator[None]:
    """One that answers, and has the image."""
    log = room.folder / "containerd.log"
    words = [*room.before, "containerd", "--config", str(room.folder / "config.toml")]
    with log.open("a") as stream:
        started = subprocess.Popen(words, stdout=stream, stderr=stream, start_new_session=True)
    try:
        end, pause = time.monotonic() + 60, threading.Event()
        while not _answers(room):
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            pause.wait(0.1)
        room.ctr("images", "import", str(room.folder / "image.tar"))
        yield
    finally:
        started.terminate()
        started.wait(timeout=30)


def _answers(room: Room) -> bool:
    try:
        return room.cri.version() == "containerd"
    except Refused:
        return False


def _end(cgroup: Path) -> None:
    """What a failed test has left: shims, containers, a daemon; and the cgroups of both versions."""
    (cgroup / "cgroup.kill").write_text("1")
    for top in _tops(cgroup):
        for folder in sorted((top, *_below(top)), reverse=True):
            _remove(folder)


def _tops(cgroup: Path) -> list[Path]:
    """It, and those of its name in the hierarchies of version 1, where runc makes them."""
    above = Path("/sys/fs/cgroup")
    return [one for one in {cgroup, above / cgroup.name, *above.glob(f"*/{cgroup.name}")} if one.is_dir()]


def _below(cgroup: Path) -> list[Path]:
    return [one for one in cgroup.rglob("*") if one.is_dir()]


def _remove(cgroup: Path) -> None:
    """Once its last process has gone, which takes a moment after it was killed."""
    end, pause = time.monotonic() + 20, threading.Event()
    while True:
        try:
            cgroup.rmdir()
            return
        except OSError:
            assert time.monotonic() < end, f"{cgroup}: {(cgroup / 'cgroup.procs').read_text()}"
            pause.wait(0.05)
