"""Every mistake is answered with its place, what was found, what is allowed: errors.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.spec.document import MAX_BYTES, MAX_VALUES
from reconciler.spec.load import load_spec, load_text
from reconciler.spec.problems import SpecError

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
CASES = yaml.safe_load((Path(__file__).parent / "errors.yaml").read_text())


def told(text: str | bytes) -> str:
    with pytest.raises(SpecError) as error:
        load_text(text)
    return str(error.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_mistake(case: dict[str, Any]) -> None:
    message = told(case["text"] if "text" in case else HEAD + case["body"])
    for part in case.get("says", ()):
        assert part in message
    assert message == case.get("exactly", message)
    assert "pydantic" not in message.lower()


def test_every_mistake_is_told_in_the_order_of_the_file() -> None:
    lines = told(HEAD + "fabric: {mode: x}\nnodes:\n  n1: {mtu: 3}\n  n2: {address: 1}\ncni: {file: x}\n").splitlines()
    assert [line.split(":")[1] for line in lines] == ["3", "5", "6", "7"]


def test_a_file_larger_than_a_config_map(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(SpecError, match=f"2,097,152 bytes; a ConfigMap holds at most {MAX_BYTES:,}"):
        load_spec(path)


def test_an_alias_bomb_is_defused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert f"more than {MAX_VALUES:,} values once aliases are expanded" in told(bomb)


@pytest.mark.parametrize("depth", [40, 5_000, 100_000])
def test_deep_nesting_ends(depth: int) -> None:
    assert "YAML" in (message := told("a: " + "[" * depth)) or "nested deeper than" in message


def test_latin_1_names_the_line() -> None:
    assert "network.yaml:2: not UTF-8: byte 0xfc" in told("a: 1\nb: f\xfcr\n".encode("latin-1"))


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert load_text(b"\xef\xbb\xbf" + HEAD.encode()).spec.kind == "ClusterNetwork"


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file or directory"):
        load_spec(tmp_path / "none.yaml")


def test_a_folder_is_merged_by_section_and_the_same_thing_twice_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HEAD + "nodes:\n  n1: {mtu: 1500}\n")
    (tmp_path / "b.yaml").write_text(HEAD + "nodes:\n  n2: {mtu: 9000}\nfabric: {}\n")
    loaded = load_spec(tmp_path)
    assert set(loaded.spec.nodes) == {"n1", "n2"}
    assert loaded.where(("nodes", "n2")) == "b.yaml:4"
    (tmp_path / "b.yaml").write_text(HEAD + "nodes:\n  n1: {mtu: 9000}\n")
    with pytest.raises(SpecError, match=r"b\.yaml:4:3: nodes\.n1: said twice; first at a\.yaml:4"):
        load_spec(tmp_path)


def test_macs_and_times_stay_text() -> None:
    from reconciler.spec.document import plain

    assert plain("10:20:30:40:50:59") == "10:20:30:40:50:59"
    assert plain("1:30") == "1:30"
    assert plain("2026-01-01") == "2026-01-01"
    assert plain("0x10") == 16
    assert plain("1e3") == 1000.0


def test_places_are_those_of_the_keys() -> None:
    loaded = load_text(HEAD + "nodes:\n  n1:\n    address: 10.0.1.1/24\n  n2: {}\n")
    assert loaded.where(("nodes", "n1")) == "network.yaml:4"
    assert loaded.where(("nodes", "n1", "address", 0)) == "network.yaml:5"
    assert loaded.where(("nodes", "n1", "mtu")) == "network.yaml:4"
    assert loaded.where(("fabric",)) == ""


@given(st.text() | st.binary())
def test_no_text_leads_to_anything_but_a_told_mistake(text: str | bytes) -> None:
    try:
        load_text(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    except SpecError as error:
        assert error.problems


words = st.sampled_from(
    [
        "nodes",
        "fabric",
        "n1",
        "address",
        "overlay",
        "vni",
        "{",
        "}",
        "[",
        "]",
        ":",
        "- ",
        "\n",
        "  ",
        "&a",
        "*a",
        "10.0.1.1/24",
        "!!x",
        "|",
        '"',
    ]
)


@given(st.lists(words, max_size=60))
def test_no_rearranged_file_does_either(parts: list[str]) -> None:
    try:
        load_text(HEAD + "".join(parts))
    except SpecError as error:
        assert error.problems
