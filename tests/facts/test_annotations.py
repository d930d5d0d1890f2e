"""The reference's annotation read as the reference reads it, and plumbline's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.facts.annotations import BadAnnotation, Network, Options, read_networks, read_segments
from reconciler.spec.segments import PodSegment

TABLE: list[tuple[str, list[tuple[str, Options]]]] = [
    ("", []),
    ("\n , \n", []),
    ("vxeth0, vxeth1", [("vxeth0", {}), ("vxeth1", {})]),
    ("vxeth0,vxeth1\nvxeth2", [("vxeth0", {}), ("vxeth1", {}), ("vxeth2", {})]),
    ("vxeth0 dev=tun0, vxeth1", [("vxeth0", {"dev": "tun0"}), ("vxeth1", {})]),
    (
        "vxeth0\n  ip=192.168.10.1/24\n  up\nvxeth1\n up=false",
        [("vxeth0", {"ip": "192.168.10.1/24", "up": True}), ("vxeth1", {"up": False})],
    ),
    ("vxeth1 up=true", [("vxeth1", {"up": True})]),
    ("vxeth1 up, dev=tun0", [("vxeth1", {"up": True}), ("dev=tun0", {})]),  # blanks around commas vanish: no continuation
    ("vxeth1 ,\n up", [("vxeth1", {"up": True})]),  # those behind a newline do not
    ("  vxeth1 up", [("vxeth1", {"up": True})]),  # nothing before it that it could continue
    ("vxeth1 a=b=c d=", [("vxeth1", {"a": "b=c", "d": ""})]),
    ("vxeth1 up up=false", [("vxeth1", {"up": False})]),
    ("vxeth1\n\n\n up\n", [("vxeth1", {"up": True})]),
    ("vxeth1\n    \n up", [("vxeth1", {"up": True})]),
    ("vxeth1\t,\tvxeth2", [("vxeth1", {}), ("vxeth2", {})]),
    ("vxeth1\n\tup", [("vxeth1", {}), ("\tup", {})]),  # only a blank continues
    ("vxeth1, vxeth1 up", [("vxeth1", {}), ("vxeth1", {"up": True})]),
]


@pytest.mark.parametrize(("text", "networks"), TABLE)
def test_reference_grammar(text: str, networks: list[tuple[str, Options]]) -> None:
    assert read_networks(text) == [Network(*one) for one in networks]


_WORD = st.text("abcxyz0159_./:-", min_size=1, max_size=8)
_VALUE = st.one_of(st.booleans(), _WORD.filter(lambda word: word not in ("true", "false")))
_NETWORKS = st.lists(st.tuples(_WORD, st.dictionaries(_WORD, _VALUE, max_size=4)), max_size=5)


def _option(draw: st.DrawFn, name: str, value: str | bool) -> str:
    if value is True:
        return draw(st.sampled_from([name, f"{name}=true"]))
    return f"{name}=false" if value is False else f"{name}={value}"


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[Network]]:
    """Networks, and one of the many ways in which people write them."""
    networks = draw(_NETWORKS)
    text = draw(st.sampled_from(["", "\n", ",", "\n\n"]))
    for name, options in networks:
        text += name
        for option, value in options.items():
            text += draw(st.sampled_from([" ", "   ", "\n ", "\n     ", " \n  ", "\n\n "])) + _option(draw, option, value)
        text += draw(st.sampled_from([",", "\n", " , ", "\t,  ", ",\n", "\n\n", " \n"]))
    return text, [Network(name, options) for name, options in networks]


@given(written())
def test_every_layout_reads_the_same(pair: tuple[str, list[Network]]) -> None:
    text, networks = pair
    assert read_networks(text) == networks


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for network in read_networks(text):
        assert network.name
        assert " " not in network.name
        assert "," not in network.name


def test_structured() -> None:
    found = read_segments("vxeth1:\n  ip: [192.168.11.2/29, 'fd00:11::2/64']\n  routes: [{to: default, via: 'fd00:11::1'}]\nvxeth2:\n")
    assert found["vxeth2"] == PodSegment()
    first = found["vxeth1"]
    assert isinstance(first, PodSegment)
    assert first.ip == ["192.168.11.2/29", "fd00:11::2/64"]
    assert [(route.network, route.via) for route in first.routes or ()] == [("::/0", "fd00:11::1")]
    assert read_segments("[vxeth1, vxeth2]") == {"vxeth1": PodSegment(), "vxeth2": PodSegment()}
    assert read_segments("vxeth1") == {"vxeth1": PodSegment()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vxeth1: {upp: true}", "upp: unknown key; did you mean up?"),
        ("vxeth1: {ip: 192.168.11}", "is no address; allowed: 192.168.11.2/29"),
        ("vxeth1: {ip: 224.0.0.1/24}", "cannot be the address of a pod"),
        ("vxeth1: {routes: [{to: 10.0.0.1/24, via: 10.0.0.1}]}", "host bits"),
        ("vxeth1: {routes: [{to: 10.0.0.0/24, via: 'fd00::1'}]}", "two families"),
        ("vxeth1: {vni: 0}", "vni"),
        ("'..': {}", "no name for a segment"),
    ],
)
def test_a_mistake_is_told_at_its_segment(text: str, says: str) -> None:
    found = read_segments(f"{text}\ngood: {{}}")
    assert found.pop("good") == PodSegment(), "the others are not held up"
    (mistake,) = found.values()
    assert isinstance(mistake, BadAnnotation)
    assert says in str(mistake)


@pytest.mark.parametrize("text", ["5", "a: {b: [", "a: 1\na: 2", "[[a]]", "x" * (1 << 19), "&a [*a]"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(BadAnnotation):
        read_segments(text)
