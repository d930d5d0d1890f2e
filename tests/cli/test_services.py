"""plumbline services, explain and the forms of a plan, with the example of services."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import plumbline

EXAMPLE = Path(__file__).parents[2] / "examples" / "services"
FILE, FACTS = str(EXAMPLE / "network.yaml"), ("--facts", str(EXAMPLE / "services.yaml"), "--node", "n1")
SHOP = """\
default/shop
  10.96.0.20:80/tcp
  10.0.1.11:30080/tcp
  10.0.1.11:30080/tcp from outside
  http/TCP IPv4 all: 2 ready, 1 here
    10.244.1.20:8080 here
    10.244.2.20:8080
"""


CONSOLE = """\
default/console
  10.96.0.40:443/tcp
  203.0.113.40:443/tcp
  203.0.113.40:443/tcp from outside, only 192.0.2.0/24, 198.51.100.7/32
  https/TCP IPv4 all: 1 ready, 1 here
    10.244.1.40:8443 here
"""


def test_where_services_are_reached_and_by_which_endpoints() -> None:
    assert plumbline("services", "default/shop", "--config", FILE, *FACTS).stdout == SHOP
    assert plumbline("services", "default/console", "--config", FILE, *FACTS).stdout == CONSOLE
    names = [line for line in plumbline("services", "--config", FILE, *FACTS).stdout.splitlines() if not line.startswith(" ")]
    assert names == ["default/console", "default/mail", "default/shop", "kube-system/kube-dns"]
    assert plumbline("services", "nowhere/", "--config", FILE, *FACTS).stdout == ""


def test_the_same_for_programs() -> None:
    said = json.loads(plumbline("services", "default/mail", "--config", FILE, *FACTS, "-o", "json").stdout)
    (mail,) = said["services"]
    assert (said["node"], said["drops"], mail["name"], mail["wrong"]) == ("n1", None, "default/mail", [])
    assert {one["address"] for one in mail["fronts"]} >= {"10.96.0.30:25/tcp", "203.0.113.25:25/tcp from outside"}
    (console,) = json.loads(plumbline("services", "default/console", "--config", FILE, *FACTS, "-o", "json").stdout)["services"]
    assert [one.get("sourceRanges") for one in console["fronts"]] == [None, None, ["192.0.2.0/24", "198.51.100.7/32"]]
    assert mail["lists"][0] == {"name": "default/mail:25/TCP IPv4 all", "backends": ["10.244.2.25:25"], "here": 0, "counted": None}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--config", str(EXAMPLE.parent / "quickstart/network.yaml"), *FACTS), "has no section services"),
        (("--config", FILE, "--node", "n1"), "which services there are is not known; give --facts FILE"),
    ],
)
def test_what_is_missing_is_told(words: tuple[str, ...], says: str) -> None:
    assert says in plumbline("services", *words, status=1).stderr


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("10.96.0.20", "10.96.0.20:80/tcp → 2 backends"),
        ("default/shop", "list 4180194377 slot 1 → 10.244.2.20:8080"),
        ("198.51.100.7/32", "from 198.51.100.7/32"),
        ("30025/tcp from outside", "services: default/mail (services.yaml (Service default/mail))"),
    ],
)
def test_explain_knows_services(query: str, says: str) -> None:
    assert says in plumbline("explain", FILE, query, *FACTS).stdout


def test_entries_are_told_in_words_in_every_form_of_a_plan() -> None:
    words = "10.96.0.20:80/tcp → 2 backends"
    for form in ("text", "diff", "json"):
        said = plumbline("plan", FILE, *FACTS, "-o", form).stdout
        assert words in (said if form != "json" else "\n".join(one["about"] for one in json.loads(said)["actions"]))
    key = next(one["key"] for one in json.loads(said)["actions"] if one["about"] == words)
    assert key["key"] == "00 00 00 00 00 00 00 00 00 00 ff ff 0a 60 00 14 00 50 06 00"
