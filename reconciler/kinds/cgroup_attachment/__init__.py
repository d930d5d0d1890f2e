"""Kind `cgroup_attachment`: programs at the socket hooks of cgroups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.engine.kind import NO_EFFECT, Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.bpf_program import Programs, programs_of
from reconciler.kinds.bpf_program.row import of_program
from reconciler.kinds.cgroup_attachment.row import CgroupAttachment, CgroupAttachmentKey, attachment
from reconciler.wire.bpf import ALLOW_MULTI, ALLOW_OVERRIDE, HOOKS, Attached

__all__ = ["KIND", "CgroupAttachment", "CgroupAttachmentKey", "attachment"]


class CgroupAttachmentKind(Kind[CgroupAttachment]):
    """Known as ours by its program: one that is pinned in our folder, or uses a map that is.

    In a cgroup that is wanted the same code (its tag) is enough: its pin was taken away.

    Programs of others stand beside ours (`multi`) and are left alone. One that
    lets no other stand beside it is named, and ours is not attached. Where nothing
    is wanted any more, every cgroup is looked through for what is left.
    """

    name = "cgroup_attachment"
    rank = 98
    row = CgroupAttachment
    grammar = (("bpftool", "cgroup", "attach"), ("bpftool", "cgroup", "detach"))
    uncompared = 3
    detach_first = True
    shares_keys = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[CgroupAttachment]:
        wanted = {row.key.cgroup for row in scope.wanted.rows(self.name)}
        programs = programs_of(io, scope)
        if not wanted and not programs.known:
            return []
        if wanted:
            cgroups = sorted(wanted)
        else:  # other nodes of this machine (a lab's) may have programs of the same code
            cgroups, programs = list(io.cgroups()), programs._replace(tags=frozenset())
        hooks = tuple(HOOKS)
        return [
            row
            for cgroup in cgroups
            for hook, found in zip(hooks, io.attached(cgroup, hooks), strict=True)
            for row in _attached(io, CgroupAttachmentKey(cgroup, hook), found, programs)
        ]

    def owner(self, row: CgroupAttachment, seen: Seen) -> Owner:
        return Owner.FOREIGN if row.who else Owner.OURS

    def needs(self, row: CgroupAttachment) -> tuple[Ref, ...]:
        return of_program(row.pin) if row.pin else ()

    def replaces(self, old: CgroupAttachment, new: CgroupAttachment) -> str | None:
        return "it is attached so that no other may stand beside it" if old.mode != new.mode else None

    def impossible(self, row: CgroupAttachment, seen: Seen) -> str:
        for other in seen.at(self.name, row.key):
            if other.who and other.mode != "multi":
                how = "alone" if other.mode == "alone" else "to be overridden"
                return (
                    f"{other.who} is attached {how}, so that no other may stand beside it: detach it, or let its owner attach it with multi"
                )
        return ""

    def below(self, row: CgroupAttachment, root: str) -> CgroupAttachment:
        return row._replace(key=row.key._replace(cgroup=root + row.key.cgroup), pin=root + row.pin)

    def advice(self, row: CgroupAttachment, failure: str) -> str:
        if failure == NO_EFFECT:
            return ""
        return "the cgroup must be one of version 2, and attaching needs CAP_BPF and CAP_NET_ADMIN" if "attach" in failure else ""


def _attached(io: Reader, key: CgroupAttachmentKey, found: Attached, programs: Programs) -> Iterator[CgroupAttachment]:
    for number in found.programs:
        pin = programs.pins.get(number, "")
        who = "" if pin else _who(io, number, programs)
        yield CgroupAttachment(key, pin, _mode(found.flags), number, who)
    if found.above:
        yield CgroupAttachment(key, "", "alone", found.above[1], f"program {found.above[1]} of {found.above[0]}")


def _who(io: Reader, number: int, programs: Programs) -> str:
    """The program in words; "" where it is ours: made by a plumbline whose pins were taken away."""
    one = io.program(number)
    if one is not None and (one.tag in programs.tags or one.maps & programs.maps):
        return ""
    return f"program {number}" + (f" ({one.name})" if one is not None and one.name else "")


def _mode(flags: int) -> str:
    return "multi" if flags & ALLOW_MULTI else "override" if flags & ALLOW_OVERRIDE else "alone"


KIND = CgroupAttachmentKind()
