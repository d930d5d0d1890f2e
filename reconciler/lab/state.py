"""What a lab leaves on the machine besides its namespaces: one folder, by which `down` finds everything again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from reconciler.lab.topology import LabError, Topology

FOLDER = Path("/run/plumbline-lab")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


class Lab(NamedTuple):
    """A lab that is up, or was."""

    topology: Topology

    @property
    def name(self) -> str:
        return self.topology.name

    @property
    def folder(self) -> Path:
        return folder_of(self.name)

    def node_folder(self, node: str) -> Path:
        """Log and process of the node's daemon, and its `root`."""
        return self.folder / node

    def root(self, node: str) -> str:
        """The folder that stands for / in the node's `file` rows."""
        return str(self.node_folder(node) / "root")


def folder_of(name: str) -> Path:
    """Raises LabError for a name that is no plain word: it becomes part of paths and namespaces."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name for a lab; allowed: a-z 0-9 - and dots, beginning and ending with a letter or digit")
    return FOLDER / name


def save(lab: Lab) -> None:
    """Before the first namespace is made, so that a crash leaves nothing that `down` does not know."""
    for machine in lab.topology.machines:
        Path(lab.root(machine.name)).mkdir(parents=True)
    (lab.folder / "lab.json").write_bytes(TypeAdapter(Topology).dump_json(lab.topology, indent=1))


def find(name: str) -> Lab:
    """A lab that is up. Raises LabError."""
    try:
        return Lab(TypeAdapter(Topology).validate_json((folder_of(name) / "lab.json").read_bytes()))
    except OSError:
        running = ", ".join(names()) or "none"
        raise LabError(f"there is no lab {name}; running: {running}; start one with: plumbline lab up FILE") from None
    except ValueError as error:
        raise LabError(f"{folder_of(name)}/lab.json cannot be read: {error}") from error


def names() -> list[str]:
    """The labs that are up."""
    return sorted(one.name for one in FOLDER.iterdir() if one.is_dir()) if FOLDER.is_dir() else []


def forget(name: str) -> None:
    """Remove the lab's folder."""
    shutil.rmtree(folder_of(name), ignore_errors=True)
    if FOLDER.is_dir() and not any(FOLDER.iterdir()):
        FOLDER.rmdir()
