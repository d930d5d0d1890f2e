"""The JSON schema of network.yaml, for editors and for people."""

from __future__ import annotations

import json

from reconciler.spec.model import ClusterNetwork


def schema_text() -> str:
    """As schema/network.schema.json holds it."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **ClusterNetwork.model_json_schema(by_alias=True)}
    return json.dumps(document, indent=2)
