"""inspect nets and list pods: in the reference's format, from facts and from the live kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler import lab as labs
from tests.cli.test_cli import plumbline
from tests.namespaces import sh

EXAMPLE = Path(__file__).parents[2] / "examples" / "segments"
ASKED = ("--config", str(EXAMPLE / "network.yaml"), "--facts", str(EXAMPLE / "pods.yaml"))
REFERENCE = """\
[vxeth1]
 pod: default/a 10.244.1.10
 net: dev:eth0 id:101 ip:192.168.11.2/29 name:vxeth1 route:192.168.12.0/29:192.168.11.1 type:vxlan up:true
 fdb: 00:00:00:00:00:00 dst 10.244.1.11 self permanent

 pod: default/gw 10.244.1.11
 net: dev:eth0 id:101 ip:192.168.11.1/29 name:vxeth1 type:vxlan up:true
 fdb: 00:00:00:00:00:00 dst 10.244.1.10 self permanent

[vxeth2]
 pod: default/b 10.244.2.10
 net: dev:eth0 id:102 ip:192.168.12.2/29 name:vxeth2 route:192.168.11.0/29:192.168.12.1 type:vxlan up:true
 fdb: 00:00:00:00:00:00 dst 10.244.1.11 self permanent

 pod: default/gw 10.244.1.11
 net: dev:eth0 id:102 ip:192.168.12.1/29 name:vxeth2 type:vxlan up:true
 fdb: 00:00:00:00:00:00 dst 10.244.2.10 self permanent

"""


def test_inspect_prints_what_the_reference_prints() -> None:
    said = plumbline("inspect", "nets", *ASKED)
    assert said.stdout == REFERENCE
    assert "4 members are not on this host" in said.stderr
    assert plumbline("inspect", "nets", "vxeth1", "vxeth2", *ASKED).stdout == REFERENCE
    assert plumbline("inspect", "nets", "vxeth1", "--fields", "pod", *ASKED).stdout.splitlines()[:2] == [
        "[vxeth1]",
        " pod: default/a 10.244.1.10",
    ]


def test_list_prints_what_the_reference_prints() -> None:
    whole = "default/a vxeth1 192.168.11.2/29\ndefault/b vxeth2 192.168.12.2/29\n"
    gateway = "default/gw vxeth1 192.168.11.1/29\ndefault/gw vxeth2 192.168.12.1/29\n"
    assert plumbline("list", "pods", *ASKED).stdout == whole + gateway
    assert plumbline("list", "pods", "gw", *ASKED).stdout == gateway


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("inspect", "nets", "vxeth9", *ASKED), 1, "there is no segment vxeth9; known: vxeth1, vxeth2"),
        (("inspect", "nets", "--fields", "pod,all", *ASKED), 64, "'all' is no field"),
        (("inspect", "nets", "--config", str(EXAMPLE / "network.yaml")), 1, "give --facts FILE"),
        (("list", "pods"), 64, "--config"),
    ],
)
def test_mistakes(words: tuple[str, ...], status: int, says: str) -> None:
    assert says in plumbline(*words, status=status).stderr


def test_validate_names_the_pod_the_segment_and_what_mends_it(tmp_path: Path) -> None:
    facts = tmp_path / "pods.yaml"
    facts.write_text((EXAMPLE / "pods.yaml").read_text().replace("ip=192.168.11.2/29", "ipp=192.168.11.2/29"))
    said = plumbline("validate", str(EXAMPLE / "network.yaml"), "--facts", str(facts), status=1)
    assert "pods.yaml (Pod default/a): segment vxeth1: unknown option 'ipp'; did you mean ip?" in said.stderr


@pytest.mark.lab
def test_a_member_whose_entries_differ_is_marked(namespaces_can_be_made: None, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"plt-ins-{os.getpid()}"
    try:
        labs.up(EXAMPLE / "network.yaml", name, [EXAMPLE / "pods.yaml"])
        monkeypatch.setenv("PLUMBLINE_POD_NETNS", f"/run/netns/{name}-{{node}}_{{namespace}}_{{name}}")
        assert "!" not in plumbline("inspect", "nets", *ASKED).stdout
        pod = f"{name}-n1_default_a"
        sh(f"bridge -n {pod} fdb append 00:00:00:00:00:00 dev vxeth1 dst 9.9.9.9; ip -n {pod} addr add 192.168.11.6/29 dev vxeth1")
        sh(f"bridge -n {pod} fdb del 00:00:00:00:00:00 dev vxeth1 dst 10.244.1.11; ip -n {name}-n2_default_b link del vxeth2")
        said = plumbline("inspect", "nets", *ASKED, status=1).stdout
        assert "! missing: 00:00:00:00:00:00 dst 10.244.1.11 self permanent" in said
        assert "! stale: 00:00:00:00:00:00 dst 9.9.9.9 self permanent" in said
        assert " fdb: ! missing: the interface vxeth2" in said
        assert plumbline("list", "pods", "a", *ASKED).stdout.splitlines() == [
            "default/a vxeth1 192.168.11.2/29",
            "default/a vxeth1 192.168.11.6/29",
        ]
    finally:
        labs.down(name)
