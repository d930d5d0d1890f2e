"""An image of busybox alone, made here: no registry is asked."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
NAME = "plumbline.test/busybox:1"  # the pods' pause, and their containers
_APPLETS = ("cat", "httpd", "ip", "ping", "sh", "sleep", "wget")


def write(target: Path) -> None:
    """As `docker save` writes one, which `ctr images import` reads."""
    _write(
        target,
        NAME,
        {f"bin/{one}": "busybox" for one in _APPLETS},
        ["/bin/sleep", "1000000"],
        {"PATH": "/bin"},
        {"bin/busybox": BUSYBOX.resolve()},
    )


def write_hollow(target: Path, name: str, entrypoint: Sequence[str], **environment: str) -> None:
    """One whose programs all come with mounts of the machine's own /usr."""
    _write(target, name, {one: f"usr/{one}" for one in ("bin", "sbin", "lib", "lib64")}, entrypoint, environment, {})


def _write(
    target: Path, name: str, links: Mapping[str, str], entrypoint: Sequence[str], environment: Mapping[str, str], files: Mapping[str, Path]
) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as packed:
        for where, file in files.items():
            packed.add(file, where)
        for where, to in links.items():
            link = tarfile.TarInfo(where)
            link.type, link.linkname = tarfile.SYMTYPE, to
            packed.addfile(link)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": [f"{key}={value}" for key, value in environment.items()]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as image:
        for name, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            image.addfile(entry, io.BytesIO(content))
