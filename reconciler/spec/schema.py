"""The JSON schema of network.yaml, for editors and for people."""

from __future__ import annotations

import json
from typing import Any

from reconciler.kinds import all_kinds
from reconciler.spec.model import ClusterNetwork
from reconciler.spec.resources import resource_schema


def schema_text() -> str:
    """As schema/network.schema.json holds it."""
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ClusterNetwork.model_json_schema(by_alias=True),
    }
    document["properties"]["resources"] = {
        "type": "object",
        "description": "Any row of any kind by hand: kind, then a name for people, then the row.",
        "properties": {name: {"type": "object", "additionalProperties": resource_schema(kind)} for name, kind in all_kinds().items()},
        "additionalProperties": False,
    }
    return json.dumps(document, indent=2)
