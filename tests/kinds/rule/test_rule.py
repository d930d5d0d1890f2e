"""Rules against the running kernel: attributes, every selector, and other people's rules beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Verb, Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds.rule import KIND, Rule, RuleKey, mark
from tests.namespaces import sh

TABLE = yaml.safe_load((KIND.folder / "attributes.yaml").read_text())


@pytest.fixture
def engine(netns: str) -> Iterator[Round]:
    node = KernelNode()
    yield Round(node, Kinds([KIND]))
    node.close()


def scope(*rows: Rule) -> Scope:
    return Scope(("",), Wanted({"rule": {row.key: row for row in rows}}))


def lines(engine: Round, wanted: Scope) -> list[str]:
    plan, _ = engine.plan(wanted)
    return [str(line) for action in plan.actions for line in action.lines]


@pytest.mark.kernel
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("attribute", [name for name, row in TABLE["attributes"].items() if "from" in row])
def test_attribute(engine: Round, attribute: str, family: int) -> None:
    row = TABLE["attributes"][attribute]
    key = RuleKey("", family, 1000, oif="eth94")

    def wanted(end: str) -> Scope:
        fields = {attribute: row[end]}
        if attribute == "goto":
            fields["action"] = "goto"
        elif fields.get("action", "lookup") == "lookup":
            fields.setdefault("table", 100)
        return scope(Rule(key, **fields))

    first, second = wanted("from"), wanted("to")
    assert engine.converge(first).converged
    assert [action.verb for action in engine.plan(second)[0].actions] == [Verb.DELETE, Verb.CREATE]
    sh("\n".join(lines(engine, second)))
    assert engine.plan(second)[0].empty, "the pasted lines have the effect that was planned"
    assert all(attribute in action.change.reason for action in engine.plan(first)[0].actions)
    repaired = engine.converge(first)
    assert repaired.converged, repaired.errors
    assert len(repaired.plans) == 2
    assert engine.converge(scope()).converged
    assert "1000:" not in sh("ip rule show; ip -6 rule show")


@pytest.mark.kernel
@pytest.mark.parametrize("selector", TABLE["selectors"])
def test_selector(engine: Round, selector: str) -> None:
    """Made, read back the same, and deleted; alone and together with a source."""
    said: dict[str, Any] = {"src": "10.93.0.0/16"} if selector == "invert" else {}
    row = Rule(RuleKey("", 4, 1000, **{**said, selector: TABLE["selectors"][selector]}), table=100)
    made = engine.converge(scope(row))
    assert made.converged, (made.errors, made.seen.rows("rule"))
    assert len(made.plans) == 2
    assert engine.converge(scope()).converged
    assert "1000:" not in sh("ip rule show")


@pytest.mark.kernel
def test_all_selectors_at_once(engine: Round) -> None:
    row = Rule(RuleKey("", 4, 1000, **TABLE["selectors"]), table=100)
    assert engine.converge(scope(row)).converged
    assert engine.converge(scope()).converged
    assert "1000:" not in sh("ip rule show")


@pytest.mark.kernel
def test_what_a_plan_cannot_state_is_seen(engine: Round) -> None:
    sh("ip rule add priority 1000 tun_id 5 lookup 100 protocol 94")
    row = Rule(RuleKey("", 4, 1000), table=100)
    assert "other" in engine.plan(scope(row))[0].actions[0].change.reason
    assert engine.converge(scope(row)).converged
    assert "tun_id" not in sh("ip rule show")


@pytest.mark.kernel
def test_other_peoples_rules_stay(engine: Round) -> None:
    sh("ip rule add from 10.94.0.0/16 priority 1000 lookup 100 protocol 3")
    sh("ip rule add priority 900 lookup 7; ip -6 rule add priority 900 lookup 7")
    before = sh("ip rule show; ip -6 rule show")
    row = Rule(RuleKey("", 4, 1000, src="10.94.0.0/16"), table=100)
    assert engine.converge(scope(row)).converged
    assert sh("ip rule show").count("from 10.94.0.0/16") == 2
    assert engine.converge(scope()).converged
    assert sh("ip rule show; ip -6 rule show") == before


def test_marks_are_written_as_ip_rule_does() -> None:
    assert mark(16) == "0x10"
    assert mark(16, 0xF0) == "0x10/0xf0"
