"""Snapshots keep every row of every kind: by the rows of all case files, and of all examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import reconciler.kinds
from reconciler.cli.inputs import compiled, read_inputs
from reconciler.cli.looks import read_snapshot
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.model import Observed, Seen
from reconciler.engine.serial import BadSnapshot, document_of, seen_document, seen_from, value_from
from reconciler.facts.model import Device, Host, HostRoute, Manager
from reconciler.kinds import all_kinds
from tests.rows import build

KINDS = all_kinds()
EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*/network.yaml"))


def there_and_back(seen: Seen) -> Seen:
    return seen_from(json.loads(json.dumps(seen_document(seen, KINDS))), KINDS)


def plain(rows: Any) -> list[Any]:
    """Rows without where they come from, which a node does not know."""
    return [row._replace(origin=()) for row in rows]


def of_cases() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in KINDS}
    for path in sorted(Path(reconciler.kinds.__file__).parent.glob("*/cases/*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            for said in [*case.get("before", []), *case.get("wanted", [])]:
                name = said.get("kind", path.parts[-3])
                found[name].append(build(KINDS[name], said))
    return found


CASES = of_cases()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_it_was(kind: str) -> None:
    rows = plain(CASES[kind])
    assert rows, f"no case file has a row of {kind}"
    seen = Seen({name: Observed(rows if name == kind else []) for name in KINDS})
    back = list(there_and_back(seen).rows(kind))
    assert back == rows
    assert [_types(row) for row in back] == [_types(row) for row in rows]  # NamedTuples equal plain tuples


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_what_examples_want_comes_back(example: Path) -> None:
    inputs = read_inputs(example)
    for node in inputs.facts.nodes:
        wanted = compiled(inputs, node).wanted
        held = {
            name: [row for row in wanted.rows(name) if type(row) is kind.row] for name, kind in KINDS.items()
        }  # what stands for many is never seen
        seen = Seen({name: Observed(plain(rows)) for name, rows in held.items()})
        back = there_and_back(seen)
        for name in KINDS:
            assert back.rows(name) == seen.rows(name)


def test_failures_and_bytes_are_kept() -> None:
    content = bytes(range(256))
    from reconciler.kinds.file import file

    row = file("/etc/cni/net.d/10-plumbline.conflist", "x")._replace(content=content)
    seen = Seen({name: Observed([row] if name == "file" else [], "no such tool" if name == "nft" else "") for name in KINDS})
    back = there_and_back(seen)
    assert back.rows("file")[0].content == content
    assert back.failure("nft") == "no such tool"
    assert not back.failure("file")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "not a snapshot"),
        ({"version": 99, "kinds": {}}, "not a snapshot of version 1"),
        ({"version": 1, "kinds": {"teapot": {"rows": []}}}, "kind teapot is unknown"),
        ({"version": 1, "kinds": {"route": {}}}, "kind route"),
        ({"version": 1, "kinds": {"route": {"rows": [{"": "Route", "colour": "red"}]}}}, "kind route"),
        ({"version": 1, "kinds": {"route": {"rows": [{"": "Teapot"}]}}}, "Teapot is no part of a row"),
    ],
)
def test_what_is_no_snapshot_is_told(document: Any, told: str) -> None:
    with pytest.raises(BadSnapshot, match=told):
        seen_from(document, KINDS)


def test_the_facts_of_a_host_come_back_with_the_rows_that_are_in_them() -> None:
    """Its devices are rows of several kinds, and the plan of an underlay is made of them."""
    device = Device(
        *(plain(CASES[name]) for name in ("link", "address", "route", "neighbour")),
        ("12",),
        {"ipv4.rp_filter": "2"},
        "1",
        (Manager("dhcpcd", "pid 7", "end it"),),
    )
    for link in device.link:
        one = device._replace(
            link=link, addresses=tuple(device.addresses), routes=tuple(device.routes), neighbours=tuple(device.neighbours)
        )
        host = Host(
            "eth0",
            1500,
            (HostRoute(4, "10.0.0.1", "eth0", "dhcp"),),
            False,
            "/root",
            {"eth0": one},
            {"default/a": "ns"},
            {"stub": "ab"},
            ("eth0",),
            ("10.0.0.2",),
            7,
        )
        back = value_from(Host | None, json.loads(json.dumps(document_of(host))), KINDS)
        assert back == host
        assert _types(back) == _types(host)
    assert value_from(Host | None, json.loads(json.dumps(document_of(None))), KINDS) is None


@pytest.mark.parametrize(
    "host", [{"uplink": "eth0", "mtu": 1500, "default_routes": []}, [], "eth0", {"": "Device"}, {"": "Host", "colour": "red"}]
)
def test_a_host_that_is_none_is_told(tmp_path: Path, host: Any) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps({**seen_document(Seen({}), KINDS), "host": host}))
    with pytest.raises(CannotGoOn, match=r"snapshot.json: "):
        read_snapshot(path)


def _types(value: Any) -> Any:
    return (type(value), [_types(part) for part in value]) if isinstance(value, tuple) else type(value)
