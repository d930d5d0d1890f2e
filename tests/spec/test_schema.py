"""The JSON schema says what the loader says, and the checked-in one is the one that is generated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.spec.load import load_text
from reconciler.spec.problems import SpecError
from reconciler.spec.schema import schema_text

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(schema_text())
HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"


def fits(document: Any) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_in_step() -> None:
    assert (ROOT / "schema/network.schema.json").read_text().strip() == schema_text(), "run: make schema"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/network.yaml")), ids=lambda path: path.parent.name)
def test_examples(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


BODIES = [
    ("nodes: {n1: {address: [10.0.1.1/24, 'fd00:1::1/64'], podCIDRs: [10.244.1.0/24], directRouting: true}}", True),
    ("nodes: {n1: {adress: 10.0.1.1/24}}", False),
    ("fabric: {overlay: {vni: 0}}", False),
    ("fabric: {mode: tunnel}", False),
    ("sysctls: {net.core.somaxconn: {value: [1, '2'], nodeSelector: {role: edge}}}", True),
    ("resources: {route: {lab: {dst: 10.9.0.0/16, via: 10.0.1.1, dev: eth0, nodeSelector: {role: edge}}}}", True),
    ("resources: {route: {lab: {dst: 10.9.0.0/16, hops: [{via: 10.0.1.1, dev: eth0, weight: 2}]}}}", True),
    ("resources: {route: {lab: {dst: 10.9.0.0/16, vai: 10.0.1.1}}}", False),
    ("resources: {link: {x: {name: vx9, type: vxlan, mtu: 1400, info: {id: 9, dstport: 4789}}}}", True),
    ("resources: {link: {x: {name: vx9, type: vxlan, mtu: big}}}", False),
    ("resources: {link: {x: {type: bridge}}}", False),
    ("resources: {rout: {x: {}}}", False),
]


@pytest.mark.parametrize(("body", "valid"), BODIES)
def test_schema_and_loader_agree(body: str, valid: bool) -> None:
    assert fits(yaml.safe_load(HEAD + body)) is valid
    try:
        load_text(HEAD + body)
    except SpecError:
        assert not valid
    else:
        assert valid
