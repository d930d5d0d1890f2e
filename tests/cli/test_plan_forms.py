"""Options of `plan` that change what it is made against, and the forms that it comes in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reconciler.engine.merge import merge
from reconciler.engine.model import Observed, Plan, Refusal, Seen, Verb
from reconciler.engine.pipeline import make_plan
from reconciler.engine.render import Renderer
from reconciler.kinds import all_kinds
from reconciler.kinds.file import File, file
from reconciler.report.diff import diff
from reconciler.report.files import write_plan
from reconciler.report.markdown import LIMIT, markdown
from tests.cli.test_cli import QUICKSTART, plumbline
from tests.safety.node import SPEC

KINDS = all_kinds()
TARGET = "/etc/cni/net.d/10-plumbline.conflist"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "network.yaml"
    path.write_text(SPEC)
    return str(path)


def plan_of(*wanted: File, before: tuple[File, ...] = ()) -> Plan:
    seen = Seen({name: Observed(list(before) if name == "file" else []) for name in KINDS})
    return make_plan("n1", KINDS, Renderer(KINDS), merge(KINDS, wanted)[0], seen)


@pytest.mark.parametrize(
    "words",
    [("--all", "--node", "n1"), ("--all", "--snapshot", "x"), ("--from", "x", "--snapshot", "x")],
    ids=lambda words: " ".join(words),
)
def test_options_that_would_undo_each_other_are_wrong_usage(spec: str, words: tuple[str, ...]) -> None:
    assert "--" in plumbline("plan", spec, *words, status=64).stderr


@pytest.mark.kernel
def test_the_node_that_the_environment_names_is_this_one(netns: str, tmp_path: Path) -> None:
    spec = tmp_path / "network.yaml"
    spec.write_text(
        "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {}}\nresources: {link: {x0: {name: x0, type: bridge}}}\n"
    )
    assert "against this node's kernel" in plumbline("plan", str(spec), env={"NODE_NAME": "n1"}).stdout
    assert "against an empty node" in plumbline("plan", str(spec), "--node", "n1").stdout


def test_a_node_that_leaves_is_told(spec: str, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text("".join(line for line in SPEC.splitlines(keepends=True) if not line.strip().startswith("n3:")))
    done = plumbline("plan", "--from", spec, str(new))
    assert "n3 is no longer in new.yaml" in done.stderr
    assert "- ip route del 10.244.3.0/24" in done.stdout
    assert "# nothing in network.yaml wants this" in done.stdout


def test_explain_finds_the_route_to_an_address(spec: str) -> None:
    shown = plumbline("explain", spec, "10.244.3.7", "--node", "n1").stdout
    assert "ip route add 10.244.3.0/24" in shown
    assert "10.244.2.0/24" not in shown
    assert "nothing that n1 should hold matches" in plumbline("explain", spec, "192.0.2.1", "--node", "n1", status=1).stderr


def test_scripts_of_what_only_the_node_knows_stop_before_anything(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plumbline("plan", str(QUICKSTART), "--all", "--out", str(out))
    done = subprocess.run([str(out / "n1.sh")], capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("not to be run: values in ‹…› are known only on n1")
    assert "not found" not in done.stderr  # no line ran: none of the tools is on this PATH


def test_staged_secrets_are_as_closed_as_their_target(tmp_path: Path) -> None:
    first = plan_of(file(TARGET, "old"), file("/etc/plumbline/plumbline-key.conf", "hush", mode=0o600, secret=True))
    write_plan(first, tmp_path, "x")
    modes = {path.read_text(): path.stat().st_mode & 0o777 for path in (tmp_path / "n1.files").iterdir()}
    assert modes == {"old": 0o644, "hush": 0o600}
    write_plan(plan_of(file(TARGET, "new")), tmp_path, "x")
    assert [path.read_text() for path in (tmp_path / "n1.files").iterdir()] == ["new"], "files of an earlier plan are left"


def test_secrets_stand_in_no_form() -> None:
    before = file(TARGET, "hush-before\n", mode=0o600, secret=True)
    plan = plan_of(file(TARGET, "hush-after\n", mode=0o600, secret=True), before=(before,))
    assert [action.verb for action in plan.actions] == [Verb.UPDATE]
    from reconciler.report.machine import plan_document

    for shown in (diff(plan, KINDS, "x"), markdown([plan], "x", "y"), json.dumps(plan_document(plan, "y"))):
        assert "hush" not in shown
        assert TARGET in shown


def test_files_differ_line_by_line() -> None:
    shown = diff(plan_of(file(TARGET, "a\nb\n"), before=(file(TARGET, "a\nc\n"),)), KINDS, "x")
    assert "    -c\n" in shown
    assert "    +b\n" in shown


def test_refusals_and_blind_spots_are_in_the_diff() -> None:
    plan = plan_of(file(TARGET, "a"))._replace(refusal=Refusal("too many", "confirm it"), failures=("nft: no such tool",))
    shown = diff(plan, KINDS, "x")
    assert "! refused: too many; confirm it" in shown
    assert "! could not be observed: nft: no such tool" in shown


@pytest.mark.parametrize("nodes", [3, 100, 3000])
def test_a_comment_is_never_too_long_and_says_what_it_leaves_out(nodes: int) -> None:
    action = plan_of(file(TARGET, "a")).actions[0]
    plans = [Plan(f"n{number}", (action,) * 30, digest="") for number in range(nodes)]
    shown = markdown(plans, "x", "y", ["w" * 100] * nodes)
    assert len(shown.encode()) < 65_000
    assert shown.count("<details>") == shown.count("</details>")
    assert f"{nodes} of {nodes} nodes change" in shown
    assert ("are left out here" in shown) == (nodes > 3)
    assert LIMIT < 65_536
