"""The wire contract: nodes of different releases must derive the same values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.intents.vtep import link_local, vtep_address, vtep_mac

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "vtep-v1.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['node']}/{vector['vni']}")
def test_frozen_vectors(vector: dict[str, str | int]) -> None:
    mac = vtep_mac(str(vector["node"]), int(vector["vni"]))
    assert mac == vector["mac"]
    assert link_local(mac) == vector["linkLocal"]


def test_a_vtep_mac_is_unicast_and_locally_administered() -> None:
    for number in range(200):
        first = int(vtep_mac(f"n{number}", 4096)[:2], 16)
        assert first & 0b11 == 0b10


def test_the_vtep_address_is_the_network_address() -> None:
    assert vtep_address("10.244.2.0/24") == "10.244.2.0"
    assert vtep_address("fd00:10:244:2::/64") == "fd00:10:244:2::"
