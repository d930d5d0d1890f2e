"""One thing has one spelling: whatever people may write of a value, the row is the one that the kernel's answer gives."""

from __future__ import annotations

import ipaddress
import typing
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kinds import all_kinds, spelling
from reconciler.kinds.route.row import destination
from reconciler.kinds.rule.row import mark_of, protocol_name, selector
from reconciler.kinds.spelling import BadValue, spelled
from reconciler.spec.load import load_text
from reconciler.spec.problems import SpecError
from reconciler.spec.resources import BadResource, resource_row
from tests.effort import examples
from tests.rows import build

KINDS = all_kinds()
HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"

ipv4 = st.integers(1 << 24, 0xDFFFFFFF).map(lambda number: ipaddress.IPv4Address(number))
ipv6 = st.integers(1 << 112, (1 << 128) - 1).map(lambda number: ipaddress.IPv6Address(number))
octets = st.binary(min_size=6, max_size=6)


@st.composite
def cased(draw: st.DrawFn, text: str) -> str:
    """Some letters large."""
    return "".join(one.upper() if draw(st.booleans()) else one for one in text)


@st.composite
def addresses(draw: st.DrawFn) -> tuple[str, str]:
    """(as written, as kept)"""
    one = draw(ipv4 | ipv6)
    kept = spelling.address(str(one))
    return draw(cased(draw(st.sampled_from([str(one), one.exploded])))), kept


@st.composite
def networks(draw: st.DrawFn) -> tuple[str, str]:
    one = draw(ipv4 | ipv6)
    length = draw(st.integers(1, one.max_prefixlen))
    whole = ipaddress.ip_network((int(one), length), strict=False)
    kept = f"{spelling.address(str(whole.network_address))}/{length}"
    written = draw(cased(draw(st.sampled_from([str(whole.network_address), whole.network_address.exploded]))))
    bare = length == one.max_prefixlen and draw(st.booleans())
    return (written if bare else f"{written}/{length}"), kept


@st.composite
def macs(draw: st.DrawFn) -> tuple[str, str]:
    kept = draw(octets).hex(":")
    return draw(cased(kept)).replace(":", draw(st.sampled_from(":-"))), kept


@st.composite
def hexadecimals(draw: st.DrawFn) -> tuple[str, str]:
    number = draw(st.integers(1, 255))
    return draw(st.sampled_from([str(number), f"{number:#x}", f"0x{number:04X}", f"0{number}"])), f"{number:#x}"


# What is drawn for a field, by the function that spells it: any pair of (as written, as kept).
VALUES: dict[Callable[[str], str], st.SearchStrategy[tuple[str, str]]] = {
    spelling.address: addresses(),
    spelling.network: networks(),
    destination: networks(),
    selector: networks(),
    spelling.interface: networks(),
    spelling.mac: macs(),
    mark_of: hexadecimals(),
    protocol_name: st.sampled_from([("6", "tcp"), ("TCP", "tcp"), ("tcp", "tcp"), ("0x11", "udp"), ("132", "132")]),
}


def spellable() -> list[Any]:
    """(kind, type inside it, field, the function that spells it), of every field of every kind that VALUES can draw."""
    found = []
    for name, kind in KINDS.items():
        waiting: list[Any] = [kind.row]
        while waiting:
            part = waiting.pop()
            for field, hint in typing.get_type_hints(part, include_extras=True).items():
                waiting += [one for one in spelling._alternatives(hint) if hasattr(one, "_fields")]
                for extra in spelling._extras(hint):
                    if isinstance(extra, spelling.Text) and extra.spell in VALUES:
                        found.append(pytest.param(part, field, extra.spell, id=f"{name}.{part.__name__}.{field}"))
    return found


def minimal(part: Any, field: str, value: str) -> Any:
    """A named tuple with one field as given, and nothing said of the others."""
    hints = typing.get_type_hints(part)
    blank = {
        name: "" if hints[name] is str else 6 if name == "family" else ()
        for name in part._fields
        if name not in part._field_defaults and name != field
    }
    if "key" in blank:
        blank["key"] = minimal(hints["key"], "", "") if field != "key" else blank["key"]
    return part(**blank, **({field: value} if field else {}))


@pytest.mark.parametrize(("part", "field", "spell"), spellable())
@examples(20)
@given(data=st.data())
def test_every_spelling_of_a_value_is_one_row(part: Any, field: str, spell: Callable[[str], str], data: st.DataObject) -> None:
    written, kept = data.draw(VALUES[spell])
    row = spelled(minimal(part, field, written))
    assert getattr(row, field) == kept
    assert spelled(row) == row


def rows_of_cases() -> list[Any]:
    """Every row that the cases of all kinds want: they are written as the kernel tells them."""
    found = []
    for name, kind in KINDS.items():
        for path in sorted((kind.folder / "cases").glob("*.yaml")):
            for number, case in enumerate(yaml.safe_load(path.read_text())):
                for said in case.get("wanted", []):
                    if said.get("kind", name) == name:
                        found.append(pytest.param(kind, said, id=f"{path.stem}-{number}"))
    return found


@pytest.mark.parametrize(("kind", "said"), rows_of_cases())
def test_what_is_in_its_spelling_stays_as_it_is(kind: Any, said: dict[str, Any]) -> None:
    row = build(kind, said)
    try:
        assert spelled(row) == row
    except BadValue:
        assert kind.impossible(row, None), "a case that cannot be spelled is a case of what is impossible"


REFUSED = [
    ("route", {"dst": "10.9.0.0/16", "dev": "eth0", "protocol": 4}, "protocol", "the mark by which plumbline knows"),
    ("rule", {"family": 4, "priority": 5, "table": 100, "protocol": 3}, "protocol", "the mark by which"),
    ("nexthop", {"dev": "x0", "via": "10.0.0.1", "protocol": 0}, "protocol", "the mark by which"),
    ("neighbour", {"dev": "x0", "address": "10.0.0.1", "lladdr": "02:00:00:00:00:01", "protocol": 4}, "protocol", "the mark by which"),
    ("link", {"name": "x0", "type": "bridge", "group": 0}, "group", "the mark by which"),
    ("link", {"name": "eth0", "adopt": True, "group": 94}, "group", "would delete it"),
    ("link", {"name": "eth0", "type": "physical", "group": 94}, "group", "would delete it"),
    ("nft", {"family": "inet", "table": "filter"}, "table", "plumbline or plumbline-NAME"),
    ("nft", {"family": "inet", "table": "plumbline", "other": [["x"]]}, "other", "leave it out"),
    ("nft_rule", {"family": "ip", "table": "filter", "chain": "FORWARD", "comment": "mine", "rule": ["accept"]}, "comment", "begins with"),
    ("nft_element", {"family": "ip", "table": "filter", "set": "s", "value": ["10.0.0.1"]}, "table", "plumbline"),
    ("file", {"path": "/etc/cron.d/x", "content": ""}, "path", "known as ours by their name"),
    ("file", {"path": "/root/plumbline.conf", "content": ""}, "path", "folders"),
    ("file", {"path": "/etc/cni/net.d/../plumbline.conf", "content": ""}, "path", "'..'"),
    ("file", {"path": "/etc/cni/net.d/plumbline.conf", "content": "", "type": "link"}, "type", "regular files only"),
    ("rule", {"family": 4, "priority": 5, "table": 9, "other": ["l3mdev"]}, "other", "leave it out"),
    *((name, {"netns": "other"}, "netns", "the node's own namespace") for name in KINDS if name != "file"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "said", "field", "words"), REFUSED)
def test_what_could_not_be_known_as_ours_again_is_refused_at_its_line(name: str, said: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadResource, match=words):
        resource_row(KINDS[name], said)
    body = "".join(
        f"      {key}: {yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}\n"
        for key, value in said.items()
    )
    with pytest.raises(SpecError) as error:
        load_text(f"{HEAD}resources:\n  {name}:\n    x:\n{body}")
    line = 6 + list(said).index(field)
    assert f"network.yaml:{line}:7: resources.{name}.x.{field}: " in str(error.value)


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("route", {"dst": "default", "via": "10.0.0.1"}, "0.0.0.0/0"),
        ("route", {"dst": "default", "via": "FE80::1", "dev": "eth0"}, "::/0"),
        ("route", {"dst": "default", "hops": [{"via": "fd00::1", "dev": "eth0"}]}, "::/0"),
        ("route", {"dst": "10.9.0.1", "dev": "eth0"}, "10.9.0.1/32"),
    ],
)
def test_default_and_bare_addresses_are_networks(name: str, said: dict[str, Any], expected: str) -> None:
    assert resource_row(KINDS[name], said).key.dst == expected


def test_words_of_a_rule_may_be_written_in_one() -> None:
    said = {"family": "inet", "table": "plumbline-x"}
    split = [{"name": "c", "rules": [["ip", "saddr", "10.0.0.0/8", "accept"]]}]
    whole = [{"name": "c", "rules": [["ip saddr 10.0.0.0/8 accept"]]}]
    assert resource_row(KINDS["nft"], {**said, "chains": split}) == resource_row(KINDS["nft"], {**said, "chains": whole})


@pytest.mark.parametrize("said", ["filter", "0"])
def test_priorities_by_name_and_by_number(said: str) -> None:
    chain = {"name": "c", "type": "filter", "hook": "forward", "priority": [said]}
    row = resource_row(KINDS["nft"], {"family": "inet", "table": "plumbline-x", "chains": [chain]})
    assert row.chains[0].priority == ("0",)


@pytest.mark.parametrize(
    ("said", "kept"), [("-100", ("dstnat",)), ("mangle + 5", ("mangle", "+", "5")), ("mangle - 1", ("raw", "+", "149"))]
)
def test_priorities_below_zero(said: str, kept: tuple[str, ...]) -> None:
    chain = {"name": "c", "type": "nat" if "100" in said else "filter", "hook": "prerouting", "priority": said.split()}
    row = resource_row(KINDS["nft"], {"family": "inet", "table": "plumbline-x", "chains": [chain]})
    assert row.chains[0].priority == kept
