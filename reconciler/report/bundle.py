"""A bundle: what somebody else needs to understand a node, in one archive, without its secrets."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.report.bundle_redact import Redactor

_ABOUT = """\
plumbline bundle of {node}, {when}

{inside}
{left_out}
Taken out: {taken}.
Comments of network.yaml are taken out too, and of Kubernetes objects everything that plumbline does not read. A value
that was taken out reads REDACTED; each WireGuard key, public ones too, is replaced by another that nothing leads back
from, the same one everywhere. What is left in: names and addresses of nodes and pods, interfaces, routes, rules, labels.
Read it before you send it.
"""
_AGAIN = "\nLook at it again with:  plumbline plan {config}{facts} --node {node} --snapshot snapshot.json\n"


class Piece(NamedTuple):
    """One file of the bundle."""

    name: str
    what: str
    content: str


class Bundle:
    """Collects pieces, each cleared as it comes."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.pieces: list[Piece] = []
        self.left_out: list[str] = []

    def add_text(self, name: str, what: str, text: str) -> None:
        self.pieces.append(Piece(name, what, self._redactor.text(text)))

    def add_yaml(self, name: str, what: str, text: str) -> None:
        self.pieces.append(Piece(name, what, self._redactor.yaml(text)))

    def add_json(self, name: str, what: str, document: Any) -> None:
        self.pieces.append(Piece(name, what, json.dumps(self._redactor.document(document), indent=1, default=str) + "\n"))

    def without(self, name: str, why: str) -> None:
        """Something that could not be had."""
        self.left_out.append(self._redactor.text(f"{name}: {why}"))

    def about(self, node: str, when: str) -> str:
        """README.txt: what is inside, what is not, what was taken out."""
        wide = max((len(piece.name) for piece in self.pieces), default=0)
        inside = "".join(f"{piece.name:{wide}}  {piece.what}\n" for piece in self.pieces)
        left_out = "".join(f"left out: {line}\n" for line in self.left_out)
        taken = (
            ", ".join(f"{number} × {sort}" for sort, number in sorted(self._redactor.found.items()))
            or "nothing that looks like a secret was found"
        )
        has = {piece.name for piece in self.pieces}
        config = next((name for name in sorted(has) if name.startswith("config/")), "network.yaml")
        config = "config" if sum(name.startswith("config/") for name in has) > 1 else config
        facts = " --facts facts.json" if "facts.json" in has else ""
        again = _AGAIN.format(config=config, facts=facts, node=node) if {"plan.txt", "snapshot.json"} <= has else ""
        return self._redactor.text(_ABOUT.format(node=node, when=when, inside=inside, left_out=left_out, taken=taken) + again)

    def packed(self, folder: str, node: str, when: str, seconds: float) -> bytes:
        """The archive, everything below one folder. `seconds`: since the epoch, of its files."""
        contents: Mapping[str, str] = {"README.txt": self.about(node, when), **{piece.name: piece.content for piece in self.pieces}}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
            for name, text in contents.items():
                entry = tarfile.TarInfo(f"{folder}/{name}")
                content = text.encode("utf-8", "backslashreplace")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, int(seconds)
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()


def write_new(path: Path, content: bytes) -> None:
    """A file of one's own (0600), where there was none. Raises OSError; FileExistsError for whatever stands there, a link too."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
