"""Boots the image, runs one command in it, and gives back what it printed and its exit status."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.vm.image import Image, Unavailable

HERE = Path(__file__).parent.resolve()
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
MEMORY = 1536  # MiB
TIMED_OUT = 124


class Ended(NamedTuple):
    """How a command ended in the VM. A status of None: the VM itself came to grief, and `console` tells how."""

    status: int | None
    console: str


def boot(image: Image, words: Sequence[str], environment: dict[str, str], *, cwd: Path, timeout: int) -> Ended:
    """Run a command there; its output goes to this process's standard output while it runs. Raises Unavailable."""
    with tempfile.TemporaryDirectory(prefix="plt-vm-") as folder, _shared_root(Path(folder)) as socket:
        job = Path(folder)
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        (job / "command").write_text(f"{exports}cd {shlex.quote(str(cwd))} || exit 1\n{shlex.join(words)}\n")
        sys.stdout.flush()
        output = os.dup(1)  # QEMU takes no standard descriptor by number, and its "stdio" closes with standard input
        try:
            done = subprocess.run(_qemu(image, job, socket, output), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                  pass_fds=[output], timeout=timeout, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            return Ended(TIMED_OUT, f"stopped after {timeout} s")
        finally:
            os.close(output)
        status = (job / "status").read_text().strip() if (job / "status").exists() else ""
        console = (job / "console").read_text(errors="replace") if (job / "console").exists() else ""
        return Ended(int(status) if status else None, done.stderr + console)


def _qemu(image: Image, job: Path, socket: Path, output: int) -> list[str]:
    """No KVM unless PLUMBLINE_VM_ACCEL says so: where it is there and broken, nothing tells beforehand."""
    accelerator = os.environ.get("PLUMBLINE_VM_ACCEL", "tcg")
    line = f"console=ttyS0 quiet panic=-1 mitigations=off plt.modules={image.modules.resolve()} plt.job={job} plt.guest={HERE}/guest.sh"
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35", "-accel", accelerator, "-cpu", "Nehalem" if accelerator == "tcg" else "host", "-m", str(MEMORY),
        "-object", f"memory-backend-memfd,id=memory,size={MEMORY}M,share=on", "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=host,path={socket}", "-device", "vhost-user-fs-pci,chardev=host,tag=host",
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        "-add-fd", f"fd={output},set=1", "-chardev", "file,id=output,path=/dev/fdset/1,append=on", "-device", "virtserialport,chardev=output,name=output",
        "-chardev", f"file,id=status,path={job}/status", "-device", "virtserialport,chardev=status,name=status",
        "-serial", f"file:{job}/console",
        "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", line,
    ]  # fmt: skip


@contextmanager
def _shared_root(job: Path) -> Iterator[Path]:
    """virtiofsd serves / to one VM, and ends with it. A sandbox of its own namespaces is refused for /."""
    socket = job / "root.sock"
    words = [VIRTIOFSD, f"--socket-path={socket}", "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", "-f"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    server.kill()
                    raise Unavailable(f"virtiofsd does not serve: {server.stderr.read().strip() if server.stderr else ''}")
                time.sleep(0.02)
            yield socket
        finally:
            server.kill()
