"""Our rules in other people's chains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import nft
from reconciler.kinds.nft_rule import KIND, NftRule, nft_rule
from tests.namespaces import sh

FOREIGN = """
nft add table ip filter
nft add chain ip filter FORWARD '{ type filter hook forward priority 0 ; policy drop ; }'
nft add rule ip filter FORWARD ip daddr 10.9.0.0/16 counter drop comment somebody
nft add chain ip filter other
nft add table inet plumbline-own
"""


@pytest.fixture
def engine(netns: str) -> Iterator[Round]:
    node = KernelNode()
    yield Round(node, Kinds([KIND]))
    node.close()


def scope(*rows: NftRule) -> Scope:
    return Scope(("",), Wanted({"nft_rule": {row.key: row for row in rows}}))


def accept(networks: str, chain: str = "FORWARD") -> NftRule:
    return nft_rule("", "ip", "filter", chain, "pods-out", f"ip saddr {networks} accept")


@pytest.mark.kernel
@pytest.mark.parametrize("chain", ["FORWARD", "other"])
def test_made_changed_and_removed(engine: Round, chain: str) -> None:
    sh(FOREIGN)
    before = sh("nft -s list ruleset")
    first, second = scope(accept("10.244.0.0/16", chain)), scope(accept("{ 10.244.0.0/16, 10.245.0.0/16 }", chain))
    assert engine.converge(first).converged
    plan, _ = engine.plan(second)
    sh("\n".join(str(line) for action in plan.actions for line in action.lines))
    assert engine.plan(second)[0].empty, "the pasted line has the effect that was planned"
    repaired = engine.converge(first)
    assert repaired.converged, repaired.errors
    sh(f"nft insert rule ip filter {chain} ip saddr 10.244.0.0/16 accept comment plumbline-pods-out")
    assert engine.converge(first).converged
    assert sh("nft list ruleset").count("plumbline-pods-out") == 1, "a second one goes"
    if chain == "FORWARD":
        assert engine.converge(scope()).converged
        assert sh("nft -s list ruleset") == before


@pytest.mark.kernel
def test_ours_comes_before_their_drop(engine: Round) -> None:
    sh(FOREIGN)
    assert engine.converge(scope(accept("10.244.0.0/16"))).converged
    chain = sh("nft list chain ip filter FORWARD")
    assert chain.index("plumbline-pods-out") < chain.index("somebody")


@pytest.mark.kernel
def test_a_chain_that_does_not_exist_drops_nothing(engine: Round) -> None:
    assert engine.plan(scope(accept("10.244.0.0/16")))[0].empty
    sh(FOREIGN)
    assert len(engine.plan(scope(accept("10.244.0.0/16")))[0].actions) == 1


@pytest.mark.kernel
def test_rules_of_our_own_tables_are_not_its_business(netns: str) -> None:
    node = KernelNode()
    table = nft.nft("", "inet", "plumbline", [nft.chain("forward", "accept comment plumbline-x", type="filter", hook="forward")])
    both = Round(node, Kinds([KIND, nft.KIND]))
    wanted = Scope(("",), Wanted({"nft": {table.key: table}}))
    assert both.converge(wanted).converged
    assert both.plan(wanted)[0].empty
    node.close()


@pytest.mark.kernel
def test_without_nft_a_rule_of_ours_that_is_left_is_no_silence(engine: Round, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sh(FOREIGN)
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert engine.plan(scope())[0].empty, "a node on which nothing of ours is needs no nft"
    assert engine.converge(scope(accept("10.244.0.0/16"))).converged
    fresh = KernelNode()
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert Round(fresh, Kinds([KIND])).plan(scope())[0].failures == ("nft_rule: nft is not installed; it comes with nftables",)
    fresh.close()
