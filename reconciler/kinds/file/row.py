"""One file that plumbline writes for somebody else to read (a container runtime)."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.spelling import FreeText, Number

# What we call files: "10-plumbline.conflist", "plumbline-extra.conf"; not a backup of one that an editor or a person left.
_OWN = re.compile(r"(\d+-)?plumbline([_-][A-Za-z0-9_-]+)?(\.(conf|conflist|json|yaml|env))?")
_STAGED = re.compile(r"\..+\.plumbline-[0-9a-f]{8}|\.plumbline-[a-z0-9_]{8}")
_FOLDER = re.compile(r"/cni/net\.d$|/cni-network$|/plumbline(/|$)")
FOLDERS = "folders of CNI configuration (…/cni/net.d, …/cni-network) and below …/plumbline"


class FileKey(NamedTuple):
    """Where it is, as this process sees it (a lab node's folder included)."""

    path: str


class File(NamedTuple):
    """A regular file with its whole content."""

    key: FileKey
    content: bytes | FreeText
    mode: Annotated[int, Number(0, 0o777)] = 0o644  # permission bits
    type: str = "file"  # seen only: "link", "folder" or "other" is never ours
    waits: bool = False  # put in place only once everything else is as it should be
    secret: bool = False  # its content is never shown
    staged: str = ""  # where the content is written first; chosen by `assign`
    origin: tuple[Origin, ...] = ()


def file(path: str, content: str | bytes, *, root: str = "", mode: int = 0o644, waits: bool = False, secret: bool = False) -> File:
    """A wanted file; `root` is the folder that stands for / (a lab node's), "" on a real node."""
    return File(FileKey(root + path), as_bytes(content), mode, waits=waits, secret=secret)


def as_bytes(content: bytes | str) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def split(path: str) -> tuple[str, str]:
    """Folder and name."""
    folder, _, name = path.rpartition("/")
    return folder, name


def own_name(name: str) -> bool:
    """Whether a name says that the file is ours."""
    return _OWN.fullmatch(name) is not None or _STAGED.fullmatch(name) is not None


def staging(row: File) -> str:
    """Beside the target, so that moving it there is one rename; other content, other name."""
    folder, name = split(row.key.path)
    return f"{folder}/.{name}.plumbline-{sha256(as_bytes(row.content)).hexdigest()[:8]}"


def refused(path: str) -> str:
    """Why plumbline writes no such file; empty when it does."""
    folder, name = split(path)
    if not path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")[1:]):
        return f"{path}: a file's path begins with / and has no empty part, '.' or '..'"
    if _OWN.fullmatch(name) is None:
        return f"{path}: files are known as ours by their name: call it plumbline.conflist, 10-plumbline.conflist or plumbline-NAME.conf"
    if not may_hold(folder):
        return f"{path}: files are written to {FOLDERS} only"
    return ""


def may_hold(folder: str) -> bool:
    """Whether plumbline writes files there."""
    return _FOLDER.search(folder) is not None
