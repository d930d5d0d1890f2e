"""network.yaml → ClusterNetwork, or every mistake in it with its place."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.spec.document import MAX_BYTES, Ambiguous, Document, read_document
from reconciler.spec.model import ClusterNetwork
from reconciler.spec.pairs import pair_problems
from reconciler.spec.problems import MOST, Path, Place, Problem, SpecError
from reconciler.spec.resources import resource_problems

ROOT_KEYS = ("apiVersion", "kind", "metadata")  # may stand in every file of a folder, if it says the same


class Loaded(NamedTuple):
    """A valid spec, where everything in it stands, and the digest of the text."""

    spec: ClusterNetwork
    places: Mapping[Path, Place]
    digest: str  # sha256 of the content, hexadecimal
    name: str

    def where(self, path: Path) -> str:
        """ "network.yaml:7" for the nearest place that somebody wrote; "" where nobody did."""
        place = nearest(self.places, path)
        return f"{place.file}:{place.line}" if place and place.line else ""


def load_spec(path: str | os.PathLike[str]) -> Loaded:
    """Read a file, or all *.yaml of a folder, merged by section. Raises SpecError."""
    return load_texts(read_texts(path))


def read_texts(path: str | os.PathLike[str]) -> list[tuple[bytes, str]]:
    """The bytes and the name of each file that a path stands for. Raises SpecError."""
    given = FilePath(path)
    if not given.is_dir():
        return [(_bytes(given), given.name)]
    files = sorted(one for one in given.iterdir() if one.suffix in (".yaml", ".yml") and not one.name.startswith("."))
    if not files:
        raise SpecError([Problem(Place(str(given)), (), "no *.yaml in this folder", remedy="name the file, or put network.yaml there")])
    return [(_bytes(one), one.name) for one in files]


def load_text(text: str | bytes, name: str = "network.yaml") -> Loaded:
    """The same from a text."""
    return load_texts([(text.encode() if isinstance(text, str) else text, name)])


def _bytes(path: FilePath) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise SpecError([Problem(Place(str(path)), (), f"cannot be read: {error.strerror}")]) from None
    if size > MAX_BYTES:
        raise SpecError([Problem(Place(str(path)), (), f"{size:,} bytes; a ConfigMap holds at most {MAX_BYTES:,}",
                                 remedy="give nodes as manifests (--facts) instead")])  # fmt: skip
    return content


def load_texts(texts: Iterable[tuple[bytes, str]]) -> Loaded:
    """Several documents as one spec. Raises SpecError with everything that is wrong in them."""
    total = sha256()
    documents = []
    problems: list[Problem] = []
    names = []
    for content, name in texts:
        total.update(content)
        names.append(name)
        try:
            documents.append(read_document(content, name))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    whole = _merged(documents, names)
    return Loaded(_validated(whole, names[0]), whole.places, total.hexdigest(), names[0])


def _merged(documents: list[Document], names: list[str]) -> Document:
    """Sections of several files side by side; the same thing said twice is an error that names both places."""
    data: dict[str, Any] = {}
    places: dict[Path, Place] = {}
    problems: list[Problem] = []
    for document, name in zip(documents, names, strict=True):
        if not isinstance(document.data, dict):
            problems.append(Problem(Place(name, 1), (), f"found {_found(document.data)}", "a mapping with apiVersion and kind"))
            continue
        for key, value in document.data.items():
            if key not in data:
                data[key] = dict(value) if isinstance(value, dict) else value
            elif isinstance(value, dict) and isinstance(data[key], dict) and key not in ROOT_KEYS:
                for inner, one in value.items():
                    if inner in data[key]:
                        problems.append(_twice(document, places, (key, inner)))
                    data[key][inner] = one
            elif data[key] != value:
                problems.append(_twice(document, places, (key,)))
        places = {**document.places, **places}
    if problems:
        raise SpecError(problems)
    return Document(data, places)


def _twice(document: Document, places: Mapping[Path, Place], path: Path) -> Problem:
    first = places[path]
    return Problem(document.places[path], path, f"said twice; first at {first.file}:{first.line}", remedy="keep one of the two")


def _validated(document: Document, name: str) -> ClusterNetwork:
    try:
        spec = ClusterNetwork.model_validate(document.data)
    except ValidationError as error:
        seen: dict[tuple[Path, str], Problem] = {}
        for details in error.errors(include_url=False)[: 4 * MOST]:  # several may be of one mistake: the members of a union
            problem = _problem(details, document, name)
            first = seen.setdefault((problem.path, problem.message), problem)
            if problem.allowed and problem.allowed not in first.allowed:  # the members of a union, one by one
                seen[first.path, first.message] = first._replace(allowed=f"{first.allowed} or {problem.allowed}")
        inner = {problem.path[:end] for problem in seen.values() for end in range(len(problem.path))}
        raise SpecError(one for one in seen.values() if not (one.message == _A_MAPPING and one.path in inner)) from None

    def place(path: Path) -> Place:
        return nearest(document.places, path) or Place(name, 1)

    wrong = [*islice(resource_problems(spec.resources, place), MOST + 1), *pair_problems(spec.resources.get("link", {}), place)]
    if wrong:
        raise SpecError(wrong)
    return spec


def nearest(places: Mapping[Path, Place], path: Path) -> Place | None:
    """The place of the longest beginning of a path that was written."""
    while path:
        if path in places:
            return places[path]
        path = path[:-1]
    return None


def _problem(details: ErrorDetails, document: Document, name: str) -> Problem:
    """pydantic's finding in the words of the file."""
    path = _real_path(details["loc"], document.data, missing=details["type"] == "missing")
    place = nearest(document.places, path) or Place(name, 1)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys(path[:-1])
        guess = difflib.get_close_matches(str(path[-1]), known, 1, 0.6)
        remedy = f"did you mean {guess[0]}?" if guess else ""
        return Problem(place, path, "unknown key", ", ".join(sorted(known)) if not guess else "", remedy)
    if kind == "missing":
        return Problem(place, path, "is missing", remedy=f"add {path[-1]}: …" if path else "")
    if kind == "value_error":
        return Problem(place, path, str(context.get("error", details["msg"])))
    allowed = _ALLOWED.get(kind, details["msg"]).format(**context)
    return Problem(place, path, f"found {_found(details['input'])}", allowed)


_A_MAPPING = "found a mapping"  # said of every other member of a union, although the mapping itself is only wrong inside

_ALLOWED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list: [a, b]",
    "dict_type": "a mapping: {{key: value}}",
    "model_type": "a mapping: {{key: value}}",
    "model_attributes_type": "a mapping: {{key: value}}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
}


def _found(value: Any) -> str:
    if isinstance(value, Ambiguous):
        return f"{value} (which YAML 1.1 reads as a boolean)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f'"{value[:60]}"'
    return str(value)


def _real_path(loc: tuple[str | int, ...], data: Any, *, missing: bool) -> Path:
    """pydantic's location without the names of union members, which are in no file."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif not missing or part != loc[-1]:
            continue
        path.append(part)
    return tuple(path)


def _keys(path: Path) -> list[str]:
    """The keys that may stand at a path."""
    model: Any = ClusterNetwork
    for part in path:
        field = next((one for name, one in model.model_fields.items() if part in (name, one.alias)), None) if _is_model(model) else None
        annotation = field.annotation if field else None
        models = [one for one in _flat(annotation) if _is_model(one)]
        if not models:
            model = next((one for one in _flat(model) if _is_model(one)), None) if not _is_model(model) else None
            if field is not None:
                model = annotation
            continue
        model = models[0] if not str(annotation).startswith("dict") else annotation
    while model is not None and not _is_model(model):
        model = next((one for one in _flat(model) if _is_model(one)), None)
    return [one.alias or name for name, one in model.model_fields.items()] if model is not None else []


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def _flat(annotation: Any) -> list[Any]:
    found = [annotation]
    for part in get_args(annotation):
        found += _flat(part)
    return found
