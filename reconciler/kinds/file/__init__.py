"""Kind `file`: whole files, put in place by one rename."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Seen, StagedFile
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.file.row import File, FileKey, as_bytes, file, own_name, refused, split, staging
from reconciler.kinds.spelling import BadValue

__all__ = ["KIND", "File", "FileKey", "file"]

# Where runtimes read them, by the distributions' own documentation: what is left in one is found also where no spec names it any more.
CNI = (
    "/etc/cni/net.d",
    "/etc/kubernetes/cni/net.d",  # OpenShift
    "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    "/var/snap/microk8s/current/args/cni-network",
)


class FileKind(Kind[File]):
    """Known as ours by its name, in the folders that the spec names and in those that runtimes read.

    A symbolic link under such a name is somebody's: it is neither read nor
    written through nor removed.
    """

    name = "file"
    rank = 100
    row = File
    grammar = (("mv", "-T"), ("rm", "--"))
    uncompared = 4
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[File]:
        named = (*scope.wanted.of(self.name), *scope.wanted.absent.get(self.name, ()))
        folders = sorted({scope.root + folder for folder in CNI} | {split(key.path)[0] for key in named if not refused(key.path)})
        paths = [path for folder in folders for name in io.names(folder) if own_name(name) for path in (f"{folder}/{name}",)]
        for path, mode in _modes(io, paths):
            if not stat.S_ISREG(mode):
                yield File(FileKey(path), b"", stat.S_IMODE(mode), _type(mode))
                continue
            content = io.read("", path)
            if content is not None:
                yield File(FileKey(path), content, stat.S_IMODE(mode), secret=not mode & 0o077)

    def owner(self, row: File, seen: Seen) -> Owner:
        return Owner.OURS if row.type == "file" and own_name(split(row.key.path)[1]) else Owner.FOREIGN

    def normal(self, row: File) -> File:
        why = refused(row.key.path)
        if why:
            raise BadValue(why, "path")
        if row.type != "file":
            raise BadValue(f"found {row.type}; plumbline makes regular files only: leave it out", "type")
        return row._replace(content=as_bytes(row.content))

    def below(self, row: File, root: str) -> File:
        return row._replace(key=FileKey(root + row.key.path))

    def assign(self, wanted: Iterable[File], seen: Sequence[File]) -> Iterable[File]:
        return (row._replace(staged=staging(row)) for row in wanted)

    def waits(self, row: File) -> bool:
        return row.waits

    def impossible(self, row: File, seen: Seen) -> str:
        return refused(row.key.path)

    def staged(self, row: File) -> tuple[StagedFile, ...]:
        return (StagedFile(row.staged, as_bytes(row.content), row.mode),)

    def same(self, old: File, new: File) -> bool:
        return not self.differs(old, new)

    def differs(self, old: File, new: File) -> tuple[str, ...]:
        return super().differs(old, new._replace(content=as_bytes(new.content)))

    def describe(self, row: File) -> str:
        if row.secret:
            return "content not shown"
        return f"{len(as_bytes(row.content))} bytes"


def _modes(io: Reader, paths: list[str]) -> Iterable[tuple[str, int]]:
    """Type and permission bits (st_mode) of each path; links are not followed."""
    if not paths:
        return []
    printed = io.tool("", ("stat", "-c", "%f", "--", *paths)).split()
    return [(path, int(mode, 16)) for path, mode in zip(paths, printed, strict=True)]


def _type(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    return "folder" if stat.S_ISDIR(mode) else "other"


KIND = FileKind()
