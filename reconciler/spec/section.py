"""What every section of network.yaml is made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Mtu = Annotated[int, Field(ge=68, le=65535)]  # bytes; 68 is IPv4's least (RFC 791)
Vni = Annotated[int, Field(ge=1, le=16777215)]  # 24 bits (RFC 7348)
Port = Annotated[int, Field(ge=1, le=65535)]


def one_or_many(value: Any) -> Any:
    """A single value stands for a list of it."""
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """camelCase in the file, unknown keys are errors, values are immutable and strictly typed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)
