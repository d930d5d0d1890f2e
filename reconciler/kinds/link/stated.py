"""What a person must say of a link, and what follows from it."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from reconciler.kinds.link.gre import Gre
from reconciler.kinds.link.row import Link
from reconciler.kinds.link.types import TYPES
from reconciler.kinds.link.vlan import Vlan
from reconciler.kinds.link.vlan import normal as normal_vlan


class Wrong(NamedTuple):
    """What is wrong with a stated link, and in which field."""

    message: str
    field: str


def problem(row: Link) -> Wrong | None:
    """Why plumbline could not make such a link."""
    known = TYPES.get(row.type or "")
    if row.type is None:
        return Wrong("a link that plumbline makes has one; say it, or adopt: true", "type")
    if known is None:
        guess = difflib.get_close_matches(row.type, TYPES, 1)
        allowed = ", ".join(name for name in TYPES if name != "physical")
        return Wrong(f"found {row.type!r}; " + (f"did you mean {guess[0]}?" if guess else f"allowed: {allowed}"), "type")
    if row.info is not None and not isinstance(row.info, known.info or ()):
        return Wrong(f"a {row.type} device has no such attributes", "info")
    if known.needs and not getattr(row.info, known.needs, 0):
        return Wrong(f"a {row.type} device needs {known.needs}", "info")
    if known.below and not row.parent:
        return Wrong(f"a {row.type} device needs the device that it is made on", "parent")
    if row.parent and not (known.below or known.dev):
        return Wrong(f"a {row.type} device hangs on no other", "parent")
    if row.mac and not known.mac:
        return Wrong(f"a {row.type} device has no MAC of its own to set", "mac")
    if known.endpoints and getattr(row.info, "external", False) and (row.parent or _says_more(row.info)):
        return Wrong("external: what else there is of the tunnel comes with each packet, and is not stated", "info")
    if isinstance(row.info, Gre) and row.info.ignore_df and row.info.pmtudisc:
        return Wrong("ignoreDf: the kernel takes it only with pmtudisc: false", "info")
    return None


def made(row: Link) -> Link:
    """With every attribute that the type can have: what leaves network.yaml must not stay behind on old nodes."""
    known = TYPES[row.type or ""]
    info = row.info
    if info is None and known.info is not None:
        info = known.info()
    if isinstance(info, Vlan):
        info = normal_vlan(info)
    if known.endpoints and getattr(info, "external", False):  # iproute2 sends nothing else then, and the kernel's defaults are others
        info = _external(info)
    return row._replace(info=info, parent=row.parent or "" if known.dev else row.parent)


def _says_more(tunnel: Any) -> bool:
    """Whether something of a tunnel is stated besides that each packet says where it goes."""
    return bool(tunnel != type(tunnel)(external=True))


def _external(tunnel: Any) -> Any:
    """Of a tunnel where each packet says it, nothing else is managed."""
    return tunnel._replace(**{**dict.fromkeys(tunnel._fields), "external": True})
