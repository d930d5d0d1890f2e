"""Settings as systemd and NetworkManager read them: `[section]` and `key=value`, in a main file and drop-ins of several folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

BOOLEANS = {
    "1": True, "yes": True, "y": True, "true": True, "t": True, "on": True,
    "0": False, "no": False, "n": False, "false": False, "f": False, "off": False,
}  # fmt: skip


class Setting(NamedTuple):
    """One line of a file."""

    section: str
    key: str
    value: str
    file: str  # as it is on the host, without the root that stands for it
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}: {self.key}={self.value}"

    @property
    def boolean(self) -> bool | None:
        """None: not a truth value, which both programs ignore."""
        return BOOLEANS.get(self.value.lower())


def by_name(root: str, folders: Iterable[str], suffix: str) -> list[str]:
    """Files in the order of their names, whatever folder they are in; of two with one name the first folder's counts.

    A file that is empty or leads to /dev/null hides the others of its name, and so says nothing.
    Raises OSError for a folder that cannot be read.
    """
    found: dict[str, str] = {}
    for folder in folders:
        path = Path(root + folder)
        try:
            names = [one.name for one in path.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            if name.endswith(suffix):
                found.setdefault(name, f"{folder}/{name}")
    return [found[name] for name in sorted(found)]


def first_of(root: str, files: Iterable[str]) -> list[str]:
    """The first file that is there, alone; an empty list for none."""
    return next(([one] for one in files if Path(root + one).exists()), [])


def settings(root: str, files: Iterable[str]) -> Iterator[Setting]:
    """Every line of every file, in order: for one key the last one counts. Raises OSError."""
    for file in files:
        try:
            text = Path(root + file).read_text(errors="replace")
        except FileNotFoundError:
            continue  # gone since it was listed, or a link to nowhere
        section, begun = "", ""
        for number, raw in enumerate(text.splitlines(), 1):
            line = begun + raw.strip()
            if line.endswith("\\"):
                begun = line[:-1] + " "
                continue
            begun = ""
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
            elif line and line[0] not in "#;" and "=" in line:
                key, _, value = line.partition("=")
                yield Setting(section, key.strip(), value.strip(), file, number)
