"""Kubernetes objects in files: single, several documents, lists; JSON or YAML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 256 << 20  # 10,000 nodes with all their status are some 100 MB


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
    return [(thing, given.name) for document in _documents(content, given) for thing in _objects(document, given)]


def _documents(content: bytes, path: Path) -> list[Any]:
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return [json.loads(content)]
        except ValueError as error:
            if path.suffix == ".json":
                raise BadManifest(f"{path}: not valid JSON: {error}") from None
    try:
        return [one for one in yaml.load_all(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if one is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadManifest(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _objects(document: Any, path: Path) -> Iterator[dict[str, Any]]:
    """The object itself, or the items of a list of any kind."""
    if isinstance(document, list):
        for one in document:
            yield from _objects(one, path)
        return
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise BadManifest(f"{path}: not a Kubernetes object: it has no kind; give what `kubectl get nodes -o yaml` prints")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        inner = document["kind"].removesuffix("List")
        for item in document["items"]:
            if not isinstance(item, dict):
                raise BadManifest(f"{path}: an item of the list is no object")
            item.setdefault("kind", inner)  # the items of a NodeList do not say their kind
            yield from _objects(item, path)
        return
    yield document
