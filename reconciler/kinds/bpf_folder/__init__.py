"""Kind `bpf_folder`: folders for pins in a BPF file system."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import ObservationFailed, Reader, Scope
from reconciler.kinds.bpf_folder.row import DEFAULT, OWN, BpfFolder, BpfFolderKey, in_folder, maps_of, pin_path, root_of, roots

__all__ = ["DEFAULT", "KIND", "OWN", "BpfFolder", "BpfFolderKey", "in_folder", "maps_of", "pin_path", "root_of", "roots"]


class BpfFolderKind(Kind[BpfFolder]):
    """Known as ours by its name: `plumbline`, and what is below it.

    A folder that is in no BPF file system is an error that says what to mount:
    `bpftool` would mount one there by itself, and it would go with the daemon's pod.
    """

    name = "bpf_folder"
    rank = 88
    row = BpfFolder
    grammar = (("mkdir", "--"), ("rmdir", "--"))
    detach_first = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[BpfFolder]:
        wanted = {root_of(row.key.path) for row in scope.wanted.rows(self.name)}
        found: list[BpfFolder] = []
        for root in roots(scope):
            mount, _, name = root.rpartition("/")
            if io.on_bpffs(mount):
                paths = (root, maps_of(root)) if "maps" in io.names(root) else (root,)
                found += [BpfFolder(BpfFolderKey(path)) for path in paths if name in io.names(mount)]
            elif root in wanted:
                raise ObservationFailed(
                    f"{mount} is no BPF file system: mount one there (mount -t bpf bpf {mount}), "
                    "and where plumbline runs in a container, mount the host's into it"
                )
        return found

    def owner(self, row: BpfFolder, seen: Seen) -> Owner:
        return Owner.OURS

    def needs(self, row: BpfFolder) -> tuple[Ref, ...]:
        return () if root_of(row.key.path) == row.key.path else in_folder(row.key.path)

    def below(self, row: BpfFolder, root: str) -> BpfFolder:
        return row._replace(key=BpfFolderKey(root + row.key.path))


KIND = BpfFolderKind()
