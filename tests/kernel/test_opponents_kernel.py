"""Who would undo what plumbline does, as a kernel shows it: devices, routes and chains that are really there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.observe import observe
from reconciler.engine.reader import ObservationFailed
from reconciler.facts.merge import build_facts
from reconciler.intents import Context, compile_node
from reconciler.kernel.host import observe_host
from reconciler.kernel.netns import entered
from reconciler.kernel.node import KernelNode
from reconciler.kernel.opponents import Opponent, opponents
from reconciler.kinds import all_kinds
from reconciler.spec.load import load_text
from tests.namespaces import fresh_namespace, sh
from tests.safety.node import SPEC, converge, scope, uplink

pytestmark = pytest.mark.kernel


class Here:
    """This namespace as node n1, asked for its opponents."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root, self.io = name, str(root), KernelNode()

    def found(self, text: str = SPEC) -> list[Opponent]:
        loaded = load_text(text, "network.yaml")
        facts = build_facts(loaded, [])
        facts = facts._replace(host=observe_host(self.io, facts.nodes["n1"], self.root))
        context = Context(loaded.spec, facts, "n1", loaded.where)
        asked = scope(text, root=self.root)
        wanted = compile_node(context).wanted
        return list(opponents(context, wanted, observe(all_kinds(), self.io, asked), self.io, self.root))


@pytest.fixture
def here(netns: str, tmp_path: Path) -> Iterator[Here]:
    uplink()
    one = Here(netns, tmp_path)
    yield one
    one.io.close()


def test_nobody(here: Here) -> None:
    assert here.found() == []
    converge(scope())
    assert here.found() == [], "what is ours is nobody else's"


# -- VXLAN devices: what is said of two is what the kernel does -------------------------------

OURS = "ip link add plumb0 group 94 type vxlan id 4096 dstport 4789 local 10.0.1.11 nolearning && ip link set plumb0 up"


@pytest.mark.parametrize(
    ("theirs", "who", "refused"),
    [
        ("flannel.1 type vxlan id 4096 dstport 4789 local 10.0.1.11", "VXLAN device flannel.1 (flannel)", True),
        ("cilium_vxlan type vxlan external dstport 4789", "VXLAN device cilium_vxlan (Cilium)", True),
        ("vxlan.calico type vxlan id 77 dstport 4789 local 10.0.1.11", "VXLAN device vxlan.calico (Calico)", False),
        ("x0 type vxlan id 4096 dstport 8472 local 10.0.1.11", "VXLAN device x0", False),
        ("x6 type vxlan id 4096 dstport 4789 local fd00:1::11", "VXLAN device x6", False),
        ("x1 type vxlan id 77 dstport 8472", None, False),
        ("br0 type bridge", None, False),
    ],
)
def test_vxlan_devices(here: Here, theirs: str, who: str | None, refused: bool) -> None:
    sh(f"ip link add {theirs} && ip link set {theirs.split(maxsplit=1)[0]} up")
    found = here.found()
    assert [(one.sort, one.who) for one in found] == ([("vxlan-device", who)] if who else [])
    if found:
        assert (found[0].level == "problem") is refused
        assert f"ip -d link show {theirs.split(maxsplit=1)[0]}: " in found[0].evidence
    done = subprocess.run(["sh", "-c", OURS], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is refused, done.stderr


def test_a_port_that_only_the_kernel_holds(here: Here) -> None:
    """Docker's swarm networks: the device moved to another namespace, its socket stayed."""
    kthreadd = Path(here.root) / "proc/2/comm"
    kthreadd.parent.mkdir(parents=True)
    kthreadd.write_text("kthreadd\n")  # a host on which every process is seen
    with fresh_namespace() as other:
        pass_on = f"ip link add x0 type vxlan id 9 dstport 4789 && ip link set x0 netns {other} && ip -n {other} link set x0 up"
        sh(f"ip netns exec {here.name} sh -c '{pass_on}'")
        with entered(here.name):
            (one,) = [one for one in here.found() if one.sort == "udp-port"]
    assert (one.level, one.who) == ("note", "the kernel")


# -- routes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "level", "words"),
    [
        ("10.244.3.0/25 via 10.0.1.2 proto 80", "problem", "A route of protocol 80 (Calico) by eth0 to 10.244.3.0/25 takes packets from ours: more specific"),
        ("blackhole 10.244.3.7/32 proto 12", "problem", "protocol 12 (bird"),
        ("10.244.3.0/24 via 10.0.1.2 proto 17 metric 5", "note", "stands behind ours"),
        ("fd00:10:244:3::/64 via fd00:1::2 metric 100 proto 186", "problem", "metric 100, ours 1024"),
        ("10.244.0.0/16 via 10.0.1.2 proto static", None, ""),
        ("10.244.3.0/25 via 10.0.1.2 table 100", None, ""),
        ("192.0.2.0/24 via 10.0.1.2", None, ""),
    ],
)  # fmt: skip
def test_routes_of_others(here: Here, route: str, level: str | None, words: str) -> None:
    sh(f"ip {'-6' if route.startswith('fd') else ''} route add {route}")
    found = here.found()
    assert [one.level for one in found] == ([level] if level else [])
    for one in found:
        assert words in one.what
        sh(one.evidence.removeprefix("").partition(";")[0])
        sh(one.remedy.rpartition("then ")[2].rpartition("agent: ")[2])
    assert here.found() == [], "the remedy is a remedy"


def test_many_routes_of_one_agent_are_told_together(here: Here) -> None:
    for number in range(9):
        sh(f"ip route add 10.244.3.{number}/32 via 10.0.1.2 proto 17")
    (one,) = here.found()
    assert one.who == "9 routes of protocol 17 (dnrouted: kube-router) by eth0"
    assert "and 6 more take packets from ours" in one.effect


# -- chains ----------------------------------------------------------------------------------

IP = "add table ip filter; add chain ip filter FORWARD {{ type filter hook forward priority 0; policy {policy}; }}"


def nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script.replace(";;", "\n"), text=True, check=True)


@pytest.mark.parametrize(
    ("rules", "drops"),
    [
        ("", True),
        ("ip saddr 10.244.0.0/16 accept;; ip daddr 10.244.0.0/16 accept", False),
        ("ip saddr 10.244.1.0/24 accept", True),
        ("ip saddr 10.244.0.0/16 accept", False),
        ("ip saddr 10.0.0.0/8 ip daddr 10.0.0.0/8 accept", False),
        ("ip saddr 10.244.1.0/24 accept;; ip daddr { 10.244.1.0/24, 192.0.2.1 } accept", False),
        ("ip saddr != 192.0.2.0/24 accept", False),
        ("iifname plumb* accept;; oifname plumb0 accept", False),
        ("iifname docker0 accept", True),
        ("ct state established,related accept;; ct state invalid drop", True),
        ("ct state new accept", False),
        ("udp dport 53 accept", True),
        ("counter accept", False),
        ("log prefix \"x\" counter jump pods", True),
        ("goto pods", True),
    ],
)  # fmt: skip
def test_a_policy_that_drops_and_what_is_accepted_before(here: Here, rules: str, drops: bool) -> None:
    lines = "\n".join(f"add rule ip filter FORWARD {rule}" for rule in rules.split(";;") if rule.strip())
    nft(IP.format(policy="drop").replace("; add", "\nadd") + "\nadd chain ip filter pods\n" + lines)
    found = here.found(
        SPEC.replace(', "fd00:10:244::/48"', "")
        .replace(', "fd00:10:244:1::/64"', "")
        .replace(', "fd00:10:244:2::/64"', "")
        .replace(', "fd00:10:244:3::/64"', "")
    )
    assert [(one.sort, one.level) for one in found] == ([("forward-drop", "problem")] if drops else [])
    if drops:
        assert found[0].evidence == "ip filter FORWARD: policy drop"
        assert "say fabric.forwardAccept: true" in found[0].remedy


@pytest.mark.parametrize(
    ("chains", "rule", "who", "evidence"),
    [
        ("filter_FORWARD_POLICIES", "jump filter_FORWARD_POLICIES;; reject with icmpx admin-prohibited", "firewalld", "rule 2 of forward: reject"),
        ("DOCKER-ISOLATION", "jump DOCKER-ISOLATION", "Docker", "rule 1 of DOCKER-ISOLATION: drop"),
        ("ufw-reject-forward", "jump ufw-reject-forward", "ufw", "rule 1 of ufw-reject-forward: drop"),
        ("KUBE-ROUTER-FORWARD", "goto KUBE-ROUTER-FORWARD", "kube-router", "rule 1 of KUBE-ROUTER-FORWARD: drop"),
        ("mine", "jump mine", "the chain inet hers forward", "rule 1 of mine: drop"),
    ],
)  # fmt: skip
def test_whose_chain_it_is(here: Here, chains: str, rule: str, who: str, evidence: str) -> None:
    last = "" if "reject" in rule and "ufw" not in rule else f"add rule inet hers {chains} counter drop\n"
    rules = "".join(f"add rule inet hers forward {one}\n" for one in rule.split(";;"))
    nft(
        "add table inet hers\nadd chain inet hers forward { type filter hook forward priority 10; policy accept; }\n"
        f"add chain inet hers {chains}\n{last}{rules}"
    )
    (one,) = here.found()
    assert one.who == who
    assert one.evidence == f"inet hers forward: {evidence}"
    assert "forwardAccept" not in one.remedy, "it speaks of iptables' chain"


def test_the_accepts_that_network_yaml_asks_for_count(here: Here) -> None:
    for family in ("ip", "ip6"):
        nft(f"add table {family} filter\nadd chain {family} filter FORWARD {{ type filter hook forward priority 0; policy drop; }}")
    assert len(here.found()) == 2
    spec = SPEC.replace("fabric:\n", "fabric:\n  forwardAccept: true\n")
    assert here.found(spec) == []
    converge(scope(spec))
    assert here.found(spec) == []
    assert here.found() == [], "while they are there they count, whoever asks for them"


def test_an_advised_rule_helps(here: Here) -> None:
    nft("add table inet hers\nadd chain inet hers forward { type filter hook forward priority 10; policy drop; }")
    (one,) = here.found()
    sh(one.remedy)
    assert here.found() == []


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_iptables_of_both_sorts(here: Here, variant: str) -> None:
    tool = f"iptables-{variant}"
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (Debian: apt-get install iptables)")
    done = subprocess.run([tool, "-P", "FORWARD", "DROP"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{tool} does not work on this kernel: {done.stderr.strip()}")
    sh(
        f"{tool} -N DOCKER-USER && {tool} -A FORWARD -j DOCKER-USER && {tool} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    )
    (one,) = here.found()
    assert one.who == "Docker"
    assert one.evidence == ("ip filter FORWARD: policy drop" if variant == "nft" else "iptables-legacy FORWARD: policy drop")
    sh(one.remedy.partition(";")[0].replace("iptables ", f"{tool} "))
    assert here.found() == []
    sh(f"{tool} -F DOCKER-USER && {tool} -P FORWARD ACCEPT && {tool} -A FORWARD -m comment --comment 'two words' -j REJECT")
    (one,) = here.found()
    assert "rule 3 of FORWARD: reject" in one.evidence


# -- no answer is no "none" ------------------------------------------------------------------


class _Broken(KernelNode):
    def tool(self, netns: str, words: object) -> str:
        raise ObservationFailed("nft: Operation not permitted")

    def read(self, netns: str, path: str) -> bytes | None:
        if path.startswith("/proc/thread-self/net/"):
            raise ObservationFailed(f"{path}: Permission denied")
        return super().read(netns, path)


def test_questions_without_an_answer_are_told(here: Here) -> None:
    here.io.close()
    here.io = _Broken()
    found = here.found(SPEC + "cni: {}\n")
    assert {one.sort for one in found if one.level == "unknown"} == {"udp-port", "forward-drop"}
    assert all("could not be told: " in one.what and "ermi" in one.what for one in found)


def test_a_folder_that_cannot_be_read_is_told(here: Here) -> None:
    folder = Path(here.root) / "etc/cni"
    folder.mkdir(parents=True)
    (folder / "net.d").symlink_to("net.d")  # a loop: ELOOP whoever asks
    (one,) = [one for one in here.found(SPEC + "cni: {}\n") if one.level == "unknown"]
    assert one.sort == "cni-file"
    assert "net.d: Too many levels of symbolic links" in one.what
