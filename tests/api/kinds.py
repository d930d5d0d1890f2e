"""Which sorts of objects the small API serves, and how a path names them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jsonschema

from tests.api.store import Refused, Thing


class Kind(NamedTuple):
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = False
    status: bool = False  # written apart from the rest
    schema: Any = None  # of a CustomResourceDefinition

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def collection(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


BUILT_IN = (
    Kind("", "v1", "namespaces", "Namespace"),
    Kind("", "v1", "nodes", "Node", status=True),
    Kind("", "v1", "pods", "Pod", True, status=True),
    Kind("", "v1", "services", "Service", True, status=True),
    Kind("", "v1", "configmaps", "ConfigMap", True),
    Kind("", "v1", "serviceaccounts", "ServiceAccount", True),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", True),
    Kind("events.k8s.io", "v1", "events", "Event", True),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
)


class Target(NamedTuple):
    """What a path names."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Kinds:
    def __init__(self) -> None:
        self._kinds = {(kind.root, kind.plural): kind for kind in BUILT_IN}

    def define(self, crd: Thing) -> None:
        """Serve what a CustomResourceDefinition defines."""
        spec = crd["spec"]
        for version in spec["versions"]:
            kind = Kind(
                spec["group"], version["name"], spec["names"]["plural"], spec["names"]["kind"], spec["scope"] == "Namespaced",
                "status" in version.get("subresources", {}), version["schema"]["openAPIV3Schema"],
            )  # fmt: skip
            self._kinds[kind.root, kind.plural] = kind

    def forget(self, group: str, plural: str) -> None:
        self._kinds = {key: kind for key, kind in self._kinds.items() if (kind.group, kind.plural) != (group, plural)}

    def target(self, path: str) -> Target:
        """Raises Refused."""
        words = path.strip("/").split("/")
        roots = 2 if words[0] == "api" else 3
        root, rest = "/" + "/".join(words[:roots]), words[roots:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        kind = self._kinds.get((root, rest[0])) if rest else None
        if kind is None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return Target(kind, namespace, *rest[1:3])


def checked(kind: Kind, thing: Thing) -> Thing:
    """Without the fields that a schema does not know. Raises Refused where it says otherwise."""
    if kind.schema is None:
        return thing
    pruned = _pruned(thing, {**kind.schema, "properties": {**kind.schema["properties"], **_EVERYBODY}})
    errors = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in jsonschema.Draft7Validator(kind.schema).iter_errors(pruned)
    ]
    if errors:
        raise Refused(422, "Invalid", f'{kind.kind} "{thing["metadata"]["name"]}" is invalid: {"; ".join(errors)}')
    return pruned


_ANY = {"x-kubernetes-preserve-unknown-fields": True}
_EVERYBODY = {"apiVersion": _ANY, "kind": _ANY, "metadata": _ANY}


def _pruned(thing: Any, schema: Thing) -> Any:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return thing
    if isinstance(thing, dict) and "properties" in schema:
        return {name: _pruned(value, schema["properties"][name]) for name, value in thing.items() if name in schema["properties"]}
    if isinstance(thing, list) and "items" in schema:
        return [_pruned(one, schema["items"]) for one in thing]
    return thing
