"""What a VM boots from: a Debian kernel, unpacked and never installed, and an initial RAM disk made for it."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

META = "linux-image-6.12-cloud-amd64"  # Debian's name for the newest of this series; the package that it depends on holds the kernel
PACKAGES = {  # program: the Debian package that it comes with
    "qemu-system-x86_64": "qemu-system-x86",
    "/usr/lib/qemu/virtiofsd": "qemu-system-common",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}


class Unavailable(Exception):
    """Why there can be no VM here, and what would help."""


class Image(NamedTuple):
    """A kernel and its RAM disk; `modules` is to be /lib/modules of the guest."""

    kernel: Path
    initrd: Path
    modules: Path


def require_tools() -> None:
    """Installs what is missing when root. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("the VM's root is the host's by virtiofsd, which needs root here")
    if missing := _missing():
        if shutil.which("apt-get"):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            _run(["apt-get", "update", "-q"], environment)
            _run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], environment)
        if missing := _missing():
            raise Unavailable(
                f"missing: {' '.join(missing)}. On Debian: sudo apt-get update && sudo apt-get install -y {' '.join(missing)}"
            )


def prepared(cache: Path) -> Image:
    """The image in the cache folder, made on first use. Raises Unavailable."""
    kernels = sorted(cache.glob("kernel/boot/vmlinuz-*"))
    if not kernels:
        _unpack_kernel(cache)
        kernels = sorted(cache.glob("kernel/boot/vmlinuz-*"))
    release = kernels[-1].name.removeprefix("vmlinuz-")
    modules = cache / "kernel/lib/modules"
    initrd = cache / f"initrd-{release}"
    init = Path(__file__).with_name("init.sh")
    if not initrd.exists() or initrd.stat().st_mtime < init.stat().st_mtime:
        overlay = next((modules / release).rglob("overlay.ko*"))
        content = overlay.read_bytes()
        initrd.write_bytes(
            b"".join(
                _cpio(
                    [
                        ("busybox", 0o100755, Path(str(shutil.which("busybox"))).read_bytes()),
                        ("overlay.ko", 0o100644, lzma.decompress(content) if overlay.suffix == ".xz" else content),
                        ("init", 0o100755, init.read_bytes()),
                    ]
                )
            )
        )
    return Image(kernels[-1], initrd, modules)


def _missing() -> list[str]:
    return sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})


def _unpack_kernel(cache: Path) -> None:
    """`apt-get download` leaves the package where it runs; depmod writes what its postinst would have written."""
    cache.mkdir(parents=True, exist_ok=True)
    depends = _run(["apt-cache", "depends", "--important", META])
    names = [line.split()[-1] for line in depends.splitlines() if line.split()[0] == "Depends:"]
    if not names:
        raise Unavailable(f"no package {META} here: sudo apt-get update, on Debian 12 or newer")
    _run(["apt-get", "download", "-q", names[0]], cwd=cache)
    (package,) = cache.glob(f"{names[0]}_*.deb")
    unpacking = cache / "unpacking"
    shutil.rmtree(unpacking, ignore_errors=True)
    _run(["dpkg-deb", "-x", str(package), str(unpacking)])
    _run(["depmod", "-b", str(unpacking), names[0].removeprefix("linux-image-")])
    unpacking.rename(cache / "kernel")
    package.unlink()


def _run(words: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise Unavailable(f"{' '.join(words)}: {told[0]}")
    return done.stdout


def _cpio(files: Iterable[tuple[str, int, bytes]]) -> Iterable[bytes]:
    """An archive in the form that the kernel unpacks (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst)."""
    for number, (name, mode, content) in enumerate([*files, ("TRAILER!!!", 0, b"")], start=1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4)
        yield content + bytes(-len(content) % 4)
