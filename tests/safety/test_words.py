"""No value of any field of any kind, and none of network.yaml or a manifest, gets out of its one word."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.inputs import offline_plan, read_inputs
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.model import Action, Change, Origin, Plan, Verb
from reconciler.engine.render import Renderer
from reconciler.engine.text import text
from reconciler.kinds import all_kinds
from reconciler.report.files import write_plan
from tests.effort import examples
from tests.rows import build
from tests.safety.hostile import CORE, NASTY, leaves, nasty, out_of_place, put, unfit_words

KINDS = all_kinds()
RENDERER = Renderer(KINDS)
OFFLINE = Renderer(KINDS, unknown_allowed=True)
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/network.yaml"))


def rows(name: str) -> list[Any]:
    """What the cases of a kind want and find: every field is there in one of them."""
    found = []
    for path in sorted((KINDS[name].folder / "cases").glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            for said in (*case.get("wanted", []), *case.get("before", [])):
                if said.get("kind", name) == name:
                    found.append(build(KINDS[name], said))
    return found


def lines(name: str, verb: Verb, old: Any, new: Any) -> list[str]:
    """The lines of one action; none where it was held."""
    kind = KINDS[name]
    row = old if verb is Verb.DELETE else new
    (done,) = RENDERER.render([Action(verb, Change(name, old, new, ""), kind.ref(row), ())])
    return [] if done.held else [str(line) for line in done.lines]


def verbs(name: str, row: Any, bad: Any) -> list[tuple[Verb, Any, Any]]:
    found: list[tuple[Verb, Any, Any]] = [(Verb.CREATE, None, bad)]
    if (KINDS[name].folder / "update.j2").exists():
        found += [(Verb.UPDATE, row, bad), (Verb.UPDATE, bad, row)]
    if KINDS[name].deletes:
        found.append((Verb.DELETE, bad, None))
    return found


@pytest.mark.parametrize("name", KINDS)
def test_no_field_of_a_row_leaves_its_word(name: str) -> None:
    tried: set[str] = set()
    met: set[tuple[Any, ...]] = set()
    for row in rows(name):
        for path in leaves(row):
            shape = tuple(part for part in path if isinstance(part, str))
            if shape in met:
                continue
            met.add(shape)
            for value in NASTY:
                bad = put(row, path, value)
                for verb, old, new in verbs(name, row, bad):
                    for line in lines(name, verb, old, new):
                        assert not out_of_place(line), (path, verb)
                        assert not unfit_words(line), (path, verb, line)
            tried.add(path[0])
    assert tried, "no text in any row of this kind"


@pytest.mark.parametrize("name", KINDS)
@examples(30)
@given(data=st.data())
def test_no_text_that_anybody_thinks_of_does_either(name: str, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(rows(name)))
    path = data.draw(st.sampled_from(list(leaves(row))))
    bad = put(row, path, data.draw(nasty))
    for verb, old, new in verbs(name, row, bad):
        for line in lines(name, verb, old, new):
            assert not out_of_place(line)
            assert not unfit_words(line)


def test_a_template_sees_fields_only_and_a_value_is_never_a_template() -> None:
    row = rows("route")[0]
    assert lines("route", Verb.CREATE, None, put(row, ("dev",), "{{7*7}}")) == []
    for source in ("{{ old.__class__ }}", "{{ new._replace }}", "{{ new['dev'] }}", "{% include '/etc/passwd' %}", "{{ cycler.__init__ }}"):
        with pytest.raises(Exception, match=r"fields of rows only|do not look things up|no loader|passwd"):
            RENDERER._environment.from_string(source).render(old=row, new=row)


def sound(plan: Plan, tmp: Path) -> None:
    """Every line of a plan, however it is shown, is a line of a plan."""
    for action in plan.actions:
        for line in () if action.held else action.lines:
            assert not unfit_words(re.sub("‹[^›]*›", "known-there", str(line))), str(line)
    for shown in text(plan, "a file").splitlines():
        assert shown.startswith(("+ ", "- ", "~ ", "? ", "! ", "    ", "# ")), shown
        assert shown.isprintable()
    script = write_plan(plan, tmp, "a file")
    for run in script.read_text().splitlines():
        assert run.startswith(
            (
                "#",
                "set -eu",
                "cd ",
                "echo 'not to be run",
                "install -D",
                "ip ",
                "bridge ",
                "nft ",
                "sysctl ",
                "mv ",
                "rm ",
                "nsenter ",
                "ovs-vsctl ",
            )
        ), run
    subprocess.run(["sh", "-n", str(script)], check=True)


SPEC_LEAVES = [(path, leaf) for path in EXAMPLES for leaf in leaves(yaml.safe_load(path.read_text()))]
MORE = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
metadata: {name: c}
nodes: {n1: {address: 10.0.1.1/24, podCIDRs: [10.244.1.0/24], site: a, labels: {k: v}, interface: eth0, publicAddress: 198.51.100.1}}
fabric: {podNetwork: [10.244.0.0/16], mode: auto, overlay: {device: plumb0, underlay: auto}}
cni: {file: 10-plumbline.conflist, confDir: /etc/cni/net.d, binDir: /opt/cni/bin, bridge: cni0, name: plumbline}
sysctls: {net.ipv4.ip_local_port_range: "1024 65000", net.core.somaxconn: {value: ["1"], nodeSelector: {k: v}}}
limits: {maxDeletes: 30%}
resources:
  link: {x: {name: x0, type: bridge, alias: some, mac: "02:00:00:00:00:01"}, v: {name: x1, type: vxlan, info: {id: 9, local: 10.0.1.1}, nodeSelector: {k: v}}}
  route: {x: {dst: 10.9.0.0/16, via: 10.0.1.9, dev: eth0, src: 10.0.1.1, type: unicast}}
  rule: {x: {family: 4, priority: 9, src: 10.9.0.0/16, iif: eth0, fwmark: "0x1", ipproto: tcp, sport: "80", table: 100}}
  nft: {x: {family: inet, table: plumbline-x, chains: [{name: c, type: filter, hook: input, priority: [filter], policy: accept, rules: [[accept]]}], sets: [{name: s, type: [ipv4_addr], flags: interval}]}}
  file: {x: {path: /etc/plumbline/plumbline-x.conf, content: some}}
  sysctl: {x: {name: net.ipv4.tcp_rmem, value: "1 2 3"}}
"""
MORE_LEAVES = list(leaves(yaml.safe_load(MORE)))


def test_what_is_changed_below_is_good_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(MORE)
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(NODE))
    inputs = read_inputs(tmp_path / "network.yaml", [tmp_path / "node.yaml"])
    plan = offline_plan(inputs, "n1", OFFLINE)
    assert {action.change.kind for action in plan.actions} >= {"link", "route", "rule", "nft", "file", "sysctl", "fdb"}
    sound(plan, tmp_path / "out")


def check_network_yaml(document: Any, path: tuple[Any, ...], value: str, tmp: Path, *, as_key: bool) -> None:
    if as_key:
        holder = document
        for part in path[:-1]:
            holder = holder[part]
        if not isinstance(holder, dict):
            return
        document = put(document, path[:-1], {(value if name == path[-1] else name): one for name, one in holder.items()})
    else:
        document = put(document, path, value)
    file = tmp / "network.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=False).encode("utf-8", "replace").decode())
    try:
        inputs = read_inputs(file)
        plans = [offline_plan(inputs, node, OFFLINE) for node in list(inputs.facts.nodes)[:2]]
    except CannotGoOn as error:
        assert error.args
        return
    for plan in plans:
        sound(plan, tmp / "out")


@pytest.mark.parametrize("as_key", [False, True])
@pytest.mark.parametrize("path", MORE_LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_no_text_of_network_yaml_leaves_its_word(path: tuple[Any, ...], as_key: bool, tmp_path: Path) -> None:
    for value in (f"-{CORE}", f"{CORE}\nreboot", f"{CORE}; reboot", f"$({CORE})", f"{{{{ {CORE} }}}}", f"{CORE}\x1b[2J", f"../{CORE}"):
        check_network_yaml(yaml.safe_load(MORE), path, value, tmp_path, as_key=as_key)


@examples(40)
@given(where=st.sampled_from(SPEC_LEAVES), value=nasty.filter(lambda text: text.isascii()), as_key=st.booleans())
def test_nor_does_any_of_the_examples(where: tuple[Path, tuple[Any, ...]], value: str, as_key: bool, tmp_path_factory: Any) -> None:
    path, leaf = where
    check_network_yaml(yaml.safe_load(path.read_text()), leaf, value, tmp_path_factory.mktemp("words"), as_key=as_key)


NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "n2",
        "labels": {"k": "v"},
        "annotations": {
            "plumbline.dev/address": "10.0.1.2/24",
            "plumbline.dev/public-address": "198.51.100.2",
            "plumbline.dev/direct-routing": "true",
            "plumbline.dev/site": "a",
        },
    },
    "spec": {"podCIDRs": ["10.244.2.0/24"], "podCIDR": "10.244.2.0/24"},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.2"}, {"type": "ExternalIP", "address": "198.51.100.2"}]},
}


@pytest.mark.parametrize("path", list(leaves(NODE)), ids=lambda path: ".".join(map(str, path)))
def test_no_text_of_a_node_leaves_its_word(path: tuple[Any, ...], tmp_path: Path) -> None:
    spec = tmp_path / "network.yaml"
    spec.write_text(MORE)
    for value in NASTY:
        manifest = tmp_path / "node.yaml"
        manifest.write_text(yaml.safe_dump(put(NODE, path, value)).encode("utf-8", "replace").decode())
        try:
            inputs = read_inputs(spec, [manifest])
        except CannotGoOn as error:
            assert error.args
            continue
        for node in inputs.facts.nodes:
            plan = offline_plan(inputs, node, OFFLINE)
            assert CORE not in "".join(str(line) for action in plan.actions for line in action.lines)
            sound(plan, tmp_path / "out")


def test_a_reason_of_two_lines_is_shown_as_one() -> None:
    row = rows("route")[0]._replace(origin=(Origin("fabric", "node x\nreboot", "f\x1b[2J:1"),))
    plan = Plan(
        "n1",
        tuple(RENDERER.render([Action(Verb.CREATE, Change("route", None, row, "a\u2028b"), KINDS["route"].ref(row), (), note="a\u2028b")])),
    )
    shown = text(plan, "t\nreboot")
    assert "reboot" in shown
    assert len(shown.splitlines()) == 2
    assert all(line.isprintable() for line in shown.splitlines())
