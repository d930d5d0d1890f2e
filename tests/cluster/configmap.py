"""A ConfigMap's folder as the kubelet keeps it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class ConfigMap:
    """A folder as the kubelet's atomic writer keeps it: file → ..data/file, ..data → ..TIMESTAMP."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        folder.mkdir()

    def swap(self, **files: str) -> None:
        self.number += 1
        version = self.folder / f"..2024_{self.number}"
        version.mkdir()
        for name, text in files.items():
            (version / f"{name}.yaml").write_text(text)
        old = self.folder / "..data"
        previous = self.folder / old.readlink() if old.is_symlink() else None
        (self.folder / "..data_tmp").symlink_to(version.name)
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        for name in files:
            link = self.folder / f"{name}.yaml"
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}.yaml")
        for link in self.folder.glob("*.yaml"):
            if link.stem not in files:
                link.unlink()
        if previous:
            shutil.rmtree(previous)
