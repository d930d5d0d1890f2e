"""Whether an object may be loaded: it is one of ours, the one that was planned, and fits onto the maps that it is loaded onto."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from reconciler.kernel import bpf
from reconciler.wire.bpf_object import MapLayout, ObjectFile, read_object
from reconciler.wire.netlink import Malformed


def unfit(path: str, folder: str, words: Sequence[str], objects: str) -> str:
    """Why an object must not be loaded into a folder with these words (map name N pinned P …); empty when it may."""
    if os.path.realpath(os.path.dirname(path)) != os.path.realpath(objects):  # noqa: PTH120
        return f"{path} is no object of plumbline's: programs are loaded from {objects} only"
    try:
        content = Path(path).read_bytes()
        found = read_object(content)
    except OSError as error:
        return f"{path}: {error.strerror}: build it with `make bpf`, or install a package of plumbline that has it"
    except Malformed as error:
        return f"{path}: {error}"
    name = f"{Path(path).stem}-{sha256(content).hexdigest()[:12]}"
    if folder.rpartition("/")[2] != name:
        return f"{path} is not the object that was planned (its sha256 begins with {name[-12:]}): plan again"
    named = dict(zip(words[2::5], words[4::5], strict=True))
    return _other_maps(path, found, set(named)) or next((why for one in found.maps if (why := _misfit(one, named[one.name]))), "")


def _other_maps(path: str, found: ObjectFile, named: set[str]) -> str:
    uses = {one.name for one in found.maps}
    if uses - named:
        return f"{path} uses {', '.join(sorted(uses - named))}, which the line does not name"
    return f"{path} does not use {', '.join(sorted(named - uses))}" if named - uses else ""


def _misfit(wanted: MapLayout, pin: str) -> str:
    name, kind, key_size, value_size = wanted
    try:
        with bpf.opened_map(pin) as (_, info):
            pass
    except OSError as error:
        return f"{pin}: {error.strerror}"
    if (info.type, info.key_size, info.value_size) == (kind, key_size, value_size):
        return ""
    return (
        f"{pin} is a {info.type} of {info.key_size} to {info.value_size} bytes, and the programs take {name} "
        f"for a {kind} of {key_size} to {value_size}: another layout needs another name"
    )
