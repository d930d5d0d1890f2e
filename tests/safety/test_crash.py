"""kill -9 after each line of a plan; then a plumbline with no memory: converges."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconciler.engine.guard import Limits
from reconciler.engine.model import Action
from reconciler.engine.round import Failure, Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from tests.namespaces import fresh_namespace, sh
from tests.safety.node import SPEC, converge, nothing, scope, uplink

pytestmark = pytest.mark.kernel


class Killed(BaseException):
    """Nothing of plumbline catches it, as nothing catches SIGKILL."""


class Dying(KernelNode):
    """Runs so many lines, one at a time, and dies."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        for action in actions:
            for line in action.lines:
                if self._left == 0:
                    raise Killed
                self._left -= 1
                failures = super().run([action._replace(lines=(line,))])
                assert failures == [None]
        return [None] * len(actions)


def lines_of(text: str) -> int:
    with fresh_namespace():
        uplink()
        io = KernelNode()
        plan, _ = Round(io, all_kinds(), name="n1").plan(scope(text))
        io.close()
        return sum(len(action.lines) for action in plan.runnable)


def die_after(lines: int, wanted_text: str) -> None:
    node = Dying(lines)
    try:
        Round(node, all_kinds(), limits=Limits(1.0, 1000), name="n1").converge(scope(wanted_text))
    except Killed:
        pass
    finally:
        node.close()


def state() -> str:
    return sh("ip -d -o link show group 94 | sed 's/^[0-9]*//'; ip -o addr show dev plumb0 | sed 's/^[0-9]*//'; bridge fdb show dev plumb0 | sort; ip neigh show nud permanent | sort; ip nexthop | sort; "
              "ip route | sort; ip -6 route show proto 94 | sort; nft list ruleset")  # fmt: skip


def test_killed_after_each_line_of_the_first_plan(namespaces_can_be_made: None) -> None:
    total = lines_of(SPEC)
    assert total > 15
    with fresh_namespace():
        uplink()
        converge(scope())
        whole = state()
    for lines in range(total):
        with fresh_namespace():
            uplink()
            die_after(lines, SPEC)
            converge(scope())
            assert state() == whole, f"after a death behind line {lines}"


def test_killed_after_each_line_of_a_change_and_of_a_cleanup(namespaces_can_be_made: None) -> None:
    changed = SPEC.replace("fabric:\n", "fabric:\n  overlay: {vni: 5000}\n").replace("10.0.2.13", "10.0.2.33")
    lines = 0
    while True:
        with fresh_namespace():
            uplink()
            converge(scope())
            before = state()
            die_after(lines, changed)
            done = state()
            converge(scope(changed))
            assert state() != before
            after = state()
            converge(nothing())
            assert sh("ip -o link show group 94; ip nexthop; ip route show proto 94; ip -6 route show proto 94") == ""
        if done == after:
            break
        lines += 1
    assert lines > 10
