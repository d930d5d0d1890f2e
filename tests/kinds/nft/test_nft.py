"""Tables of nftables: the text that nft prints, and the running kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Dump, ObservationFailed, Scope, ToolMissing
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds.nft import KIND, Nft, NftSet, chain, nft, priority
from reconciler.kinds.nft.elements import canonical
from reconciler.wire import netlink as wire
from reconciler.wire import nftables
from tests.namespaces import sh

MASQUERADE = nft(
    "",
    "inet",
    "plumbline",
    [
        chain(
            "postrouting",
            "ip saddr 10.244.1.0/24 ip daddr != { 224.0.0.0/4, 10.244.0.0/16 } masquerade",
            "ip6 saddr fd00:10:244:1::/64 ip6 daddr != { fd00:10:244::/48, ff00::/8 } masquerade",
            type="nat",
            hook="postrouting",
            at=100,
        )
    ],
)
MANY = "ip saddr { " + ", ".join(f"10.{number}.0.0/16" for number in range(60)) + " } accept"
EVERYTHING = nft(
    "",
    "inet",
    "plumbline-x",
    [
        chain("first", "meta mark set 0x00000010 jump last", type="filter", hook="prerouting", at=-100),
        chain("middle", "ip saddr @s drop", type="route", hook="output", at=-77, policy="drop"),
        chain("in", "counter accept comment plumbline", type="filter", hook="ingress", device="lo"),
        chain("last", MANY, "tcp dport vmap { 80 : accept, 443 : drop }", "iifname eth0 ct state established,related counter accept"),
        chain("empty"),
    ],
    [
        NftSet("s", ("ipv4_addr",), "interval"),
        NftSet("m", ("ipv4_addr", ":", "verdict"), what="map"),
        NftSet("d", ("ipv4_addr", ".", "inet_service"), "dynamic,timeout"),
    ],
)


@pytest.fixture
def engine(netns: str) -> Iterator[Round]:
    node = KernelNode()
    yield Round(node, Kinds([KIND]))
    node.close()


def scope(*rows: Nft) -> Scope:
    return Scope(("",), Wanted({"nft": {row.key: row for row in rows}}))


@pytest.mark.kernel
@pytest.mark.parametrize("row", [MASQUERADE, EVERYTHING], ids=["masquerade", "everything"])
def test_made_read_back_pasted_and_deleted(engine: Round, row: Nft) -> None:
    made = engine.converge(scope(row))
    assert made.converged, made.errors
    assert len(made.plans) == 2
    applied = sh("nft -s list ruleset")
    sh("nft delete table " + " ".join(row.key[1:]))
    sh("\n".join(str(line) for action in made.first.actions for line in action.lines))
    assert sh("nft -s list ruleset") == applied
    assert engine.converge(scope()).converged
    assert sh("nft list ruleset") == ""


@pytest.mark.kernel
@pytest.mark.parametrize(
    "change",
    [
        "nft flush chain inet plumbline-x last",
        "nft add rule inet plumbline-x empty drop",
        "nft add chain inet plumbline-x another",
        "nft add counter inet plumbline-x seen",
        "nft add set inet plumbline-x more '{ type ipv4_addr ; }'",
        "nft add chain inet plumbline-x middle '{ policy accept ; }'",
        "nft delete table inet plumbline-x",
    ],
)
def test_what_somebody_changes_is_seen_and_repaired(engine: Round, change: str) -> None:
    wanted = scope(EVERYTHING)
    assert engine.converge(wanted).converged
    before = sh("nft -s list ruleset")
    sh(change)
    assert len(engine.plan(wanted)[0].actions) == 1
    assert engine.converge(wanted).converged
    assert sh("nft -s list ruleset") == before


@pytest.mark.kernel
def test_elements_of_sets_are_not_compared(engine: Round) -> None:
    wanted = scope(EVERYTHING)
    assert engine.converge(wanted).converged
    sh("nft add element inet plumbline-x s '{ " + ", ".join(f"10.{number}.0.0/17" for number in range(60)) + " }'")
    assert engine.plan(wanted)[0].empty


@pytest.mark.kernel
def test_other_peoples_tables_stay_and_a_bad_one_holds_up_no_other(engine: Round) -> None:
    sh("nft add table ip filter; nft add chain ip filter FORWARD; nft add table inet plumbline-foreign")
    before = sh("nft list ruleset")
    bad = nft("", "inet", "plumbline-bad", [chain("a", "jump nowhere")])
    result = engine.converge(scope(MASQUERADE, bad, nft("", "inet", "plumbline-foreign", [chain("a")])))
    assert sorted(error.split(":")[0] for error in result.errors) == ["conflict", "nft inet plumbline-bad"]
    assert "masquerade" in sh("nft list table inet plumbline")
    assert "plumbline-bad" not in sh("nft list tables")
    engine.converge(scope())
    assert sh("nft list ruleset") == before


class WithoutNft:
    """A node with a table of ours, on which nft fails in one way."""

    def __init__(self, failure: ObservationFailed) -> None:
        self._failure = failure

    def of_ruleset(self, netns: str, what: Hashable, ask: Callable[[], Any]) -> Any:
        return ask()

    def nft_dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        name = wire.ATTRIBUTE.pack(4 + len(b"plumbline") + 1, nftables.TABLE_NAME) + b"plumbline\0\0\0"
        body = bytes((1, 0, 0, 0)) + name
        return (wire.HEADER.pack(16 + len(body), nftables.NEWTABLE, 0, 1, 0) + body,)

    def tool(self, netns: str, words: Sequence[str]) -> str:
        raise self._failure


def test_a_missing_nft_is_a_failure_where_a_table_is_there_whether_it_is_wanted_or_not() -> None:
    node: Any = WithoutNft(ToolMissing("nft is not installed"))
    with pytest.raises(ToolMissing):
        list(KIND.observe(node, scope()))
    with pytest.raises(ToolMissing):
        list(KIND.observe(node, scope(MASQUERADE)))


def test_an_unanswered_question_is_never_nothing_there() -> None:
    node: Any = WithoutNft(ObservationFailed("nft: Operation not permitted"))
    with pytest.raises(ObservationFailed):
        list(KIND.observe(node, scope()))


@pytest.mark.kernel
def test_a_machine_without_nft(netns: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = KernelNode()
    with monkeypatch.context() as without:  # the namespace is taken down by tools
        without.setenv("PATH", str(tmp_path))
        with pytest.raises(ToolMissing, match="nft is not installed; it comes with nftables"):
            node.tool("", ("nft", "list", "tables"))
    node.close()


def test_priorities_need_no_leading_minus() -> None:
    assert priority(100, "postrouting") == ("srcnat",)
    assert priority(100, "output") == ("100",)
    assert priority(-100, "prerouting") == ("dstnat",)
    assert priority(-100, "output") == ("mangle", "+", "50")
    assert priority(-300, "output") == ("raw",)
    with pytest.raises(ValueError, match="raw"):
        priority(-301, "output")


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("ip saddr { 10.0.1.0/24, 10.0.0.0/24 } drop", "ip saddr 10.0.0.0/23 drop"),
        ("ip saddr { 10.0.2.0/24, 10.0.0.0/24, 10.0.1.0/24 } drop", "ip saddr 10.0.0.0-10.0.2.255 drop"),
        ("ip saddr { 10.0.0.1, 10.0.0.9 } drop", "ip saddr { 10.0.0.9, 10.0.0.1 } drop"),
        ("ip saddr {10.0.0.1,10.0.0.9} drop", "ip saddr {10.0.0.1,10.0.0.9} drop"),
        ("th dport { 53, 443 } accept", "th dport { 443, 53 } accept"),
        ("tcp dport vmap { 80 : drop, 22 : accept }", "tcp dport vmap { 80 : drop, 22 : accept }"),
    ],
)
def test_sets_in_rules_have_one_form(written: str, same: str) -> None:
    assert canonical(tuple(written.split())) == canonical(tuple(same.split()))


def test_nft_is_installed_where_its_tests_run() -> None:
    """So that the tests above do not pass for want of it; the Makefile installs it."""
    assert subprocess.run(["nft", "--version"], capture_output=True, check=False).returncode == 0
