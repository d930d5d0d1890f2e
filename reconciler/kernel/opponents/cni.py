"""A CNI configuration that the container runtime reads before ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.kernel.opponents.model import Opponent
from reconciler.spec.cni import Cni

READ = (".conf", ".conflist", ".json")  # libcni's ConfFiles as containerd and CRI-O call it; sorted by bytes, the first is used


def cni_files(root: str, cni: Cni) -> Iterator[Opponent]:
    """Raises OSError for a folder that cannot be read."""
    folder = Path(root + cni.conf_dir)
    try:
        names = sorted((one.name for one in folder.iterdir() if one.name.endswith(READ) and not one.is_dir()), key=str.encode)
    except FileNotFoundError:
        return  # nobody reads a folder that is not there; apply makes it
    earlier = [name for name in names if name.encode() < cni.file.encode()]
    for name in earlier:
        is_first = name == names[0]
        yield Opponent(
            f"CNI file {name}",
            "is read before ours: new pods get its network" if is_first else "would be read before ours, were it not for another one",
            f"{cni.conf_dir}/{name}: {_inside(folder / name)}",
            f"uninstall whoever writes it, then rm {cni.conf_dir}/{name}; or name ours to sort before it, cni.file: 00-plumbline.conflist",
        )


def _inside(path: Path) -> str:
    """The network's name and its plugins, by which people know it."""
    try:
        found: Any = json.loads(path.read_bytes())
        plugins = found.get("plugins", [found])
        return f"network {found.get('name', 'without a name')}, {' then '.join(str(one['type']) for one in plugins)}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return "no valid CNI configuration; some runtimes stop at it, others skip it"
