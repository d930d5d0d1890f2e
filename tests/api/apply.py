"""Server-side apply, as far as it matters: who applied which field, conflicts, force, and fields that their last owner leaves out."""

from __future__ import annotations

import copy
from typing import Any

from tests.api.store import Refused, Thing

Path = tuple[str, ...]
_OF_EVERYBODY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_LISTED_BY = {"conditions": "type", "ownerReferences": "uid"}  # lists that are maps: x-kubernetes-list-map-keys


def apply(old: Thing | None, said: Thing, manager: str, *, force: bool, subresource: str = "") -> Thing:
    """The object after `manager` applied `said`. Raises Refused with every field in conflict."""
    before = copy.deepcopy(old) if old else {}
    owners = {_id(one): {tuple(path) for path in one["fieldsV1"]["paths"]} for one in before.get("metadata", {}).get("managedFields", [])}
    mine = (manager, subresource)
    wanted = dict(_leaves(said))
    conflicts = [
        (other, path)
        for other, paths in owners.items()
        if other[0] != manager
        for path in sorted(paths & wanted.keys())
        if _get(before, path) != wanted[path]
    ]
    if conflicts and not force:
        many = "s" if len(conflicts) > 1 else ""
        fields = ", ".join(f".{'.'.join(path)}" for _, path in conflicts)
        raise Refused(409, "Conflict", f'Apply failed with {len(conflicts)} conflict{many}: conflict with "{conflicts[0][0][0]}": {fields}')
    for other, path in conflicts:
        owners[other].discard(path)
    for path in owners.get(mine, set()) - wanted.keys():
        if not any(path in paths for other, paths in owners.items() if other != mine):
            _drop(before, path)
    for path, value in wanted.items():
        _set(before, path, value)
    owners[mine] = set(wanted)
    before.setdefault("metadata", {})["managedFields"] = [
        {"manager": name, "operation": "Apply", **({"subresource": sub} if sub else {}), "fieldsV1": {"paths": sorted(map(list, paths))}}
        for (name, sub), paths in sorted(owners.items())
        if paths
    ]
    return before


def _id(one: Thing) -> tuple[str, str]:
    return one["manager"], one.get("subresource", "")


def _leaves(thing: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    """Every field that is said. A list with a known key is a map by it, any other list is one value."""
    if isinstance(thing, list) and path and path[-1] in _LISTED_BY:
        key = _LISTED_BY[path[-1]]
        return [found for one in thing for found in _leaves(one, (*path, f"[{one[key]}]"))]
    if not isinstance(thing, dict) or not thing:
        return [] if path in _OF_EVERYBODY else [(path, thing)]
    return [found for name, value in thing.items() for found in _leaves(value, (*path, name)) if found[0] not in _OF_EVERYBODY]


def _step(thing: Any, part: str, above: Path, *, make: bool) -> Any:
    if not part.startswith("["):
        return thing.setdefault(part, {}) if make else thing.get(part)
    key, name = _LISTED_BY[above[-1]], part[1:-1]
    found = next((one for one in thing if one.get(key) == name), None)
    if found is None and make:
        found = {key: name}
        thing.append(found)
    return found


def _get(thing: Any, path: Path) -> Any:
    for end, part in enumerate(path):
        thing = _step(thing, part, path[:end], make=False)
        if thing is None:
            return None
    return thing


def _set(thing: Any, path: Path, value: Any) -> None:
    for end, part in enumerate(path[:-1]):
        if not part.startswith("[") and path[end + 1].startswith("["):
            thing = thing.setdefault(part, [])
        else:
            thing = _step(thing, part, path[:end], make=True)
    thing[path[-1]] = copy.deepcopy(value)


def _drop(thing: Any, path: Path) -> None:
    above, listed = _get(thing, path[:-1]), len(path) > 1 and path[-2].startswith("[")
    if isinstance(above, dict) and not (listed and path[-1] == _LISTED_BY[path[-3]]):  # by that it is found, until nothing else is left
        above.pop(path[-1], None)
    if listed and above is not None and len(above) <= 1:
        _get(thing, path[:-2]).remove(above)
