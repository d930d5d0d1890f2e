"""Kubernetes objects in files: single, several documents, lists; JSON or YAML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 256 << 20  # 10,000 nodes with all their status are some 100 MB
MAX_DEPTH = 100  # of YAML; libyaml's composer recurses on the C stack and would take the process with it
MAX_OBJECTS = 2_000_000  # lists of lists by aliases would never end


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The fast loader, with an end to nesting: these two methods are called around every node."""

    _depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        self._depth -= 1
        super().ascend_resolver()


class BadManifest(Exception):
    """A file that cannot be read as Kubernetes objects; names file, place and what to do."""


def read_manifests(path: str | os.PathLike[str]) -> list[tuple[dict[str, Any], str]]:
    """Every object in a file, or in all *.yaml, *.yml and *.json of a folder, each with the file's name.

    Raises BadManifest: a file that cannot be read is never "no objects".
    """
    given = Path(path)
    if given.is_dir():
        files = sorted(one for one in given.iterdir() if one.suffix in (".yaml", ".yml", ".json") and not one.name.startswith("."))
        if not files:
            raise BadManifest(f"{given}: no *.yaml or *.json in this folder")
        return [found for one in files for found in read_manifests(one)]
    try:
        if given.stat().st_size > MAX_BYTES:
            raise BadManifest(f"{given}: larger than {MAX_BYTES:,} bytes; leave out other kinds, or managed fields")
        content = given.read_bytes()
    except OSError as error:
        raise BadManifest(f"{given}: cannot be read: {error.strerror}") from None
    if not content.strip():
        raise BadManifest(f"{given}: the file is empty; give what `kubectl get nodes -o yaml` prints")
    return [(thing, given.name) for thing in _objects(_documents(content, given), given)]


def _documents(content: bytes, path: Path) -> list[Any]:
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return [json.loads(content)]
        except RecursionError:
            raise BadManifest(f"{path}: not valid JSON: nested too deep") from None
        except ValueError as error:
            if path.suffix == ".json":
                raise BadManifest(f"{path}: not valid JSON: {error}") from None
    try:
        return [one for one in yaml.load_all(content, Loader=_Loader) if one is not None]
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadManifest(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _objects(documents: list[Any], path: Path) -> Iterator[dict[str, Any]]:
    """The objects themselves, and the items of lists of any kind, in the file's order."""
    left = documents[::-1]
    visited = 0
    while left:
        visited += 1
        if visited > MAX_OBJECTS:
            raise BadManifest(f"{path}: more than {MAX_OBJECTS:,} objects once lists and aliases are expanded")
        thing = left.pop()
        if isinstance(thing, list):
            left += reversed(thing)
        elif not isinstance(thing, dict) or not isinstance(thing.get("kind"), str):
            raise BadManifest(f"{path}: not a Kubernetes object: it has no kind; give what `kubectl get nodes -o yaml` prints")
        elif thing["kind"].endswith("List") and "items" in thing:
            left += reversed(_items(thing, path))
        else:
            yield thing


def _items(listed: Mapping[str, Any], path: Path) -> list[Any]:
    """A list's items; those of a NodeList do not say that they are Nodes."""
    items = listed["items"] or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadManifest(f"{path}: the items of a {listed['kind']} are not a list of objects")
    inner = listed["kind"].removesuffix("List")
    for item in items:
        item.setdefault("kind", inner)
    return items
