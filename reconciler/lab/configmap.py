"""A folder as the kubelet keeps a mounted ConfigMap: files are links into `..data`, which is swapped by rename."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class ConfigMapFolder:
    """One file, network.yaml, in such a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._number = folder, 0
        folder.mkdir()

    def swap(self, text: str) -> None:
        """New content, all at once: a reader sees the old file or the new one, never a half of it."""
        self._number += 1
        version = self.folder / f"..version_{self._number}"
        version.mkdir()
        (version / "network.yaml").write_text(text)
        data, fresh, file = self.folder / "..data", self.folder / "..data_tmp", self.folder / "network.yaml"
        old = self.folder / data.readlink() if data.is_symlink() else None
        fresh.symlink_to(version.name)
        os.rename(fresh, data)
        if not file.is_symlink():
            file.symlink_to("..data/network.yaml")
        if old is not None:
            shutil.rmtree(old)
