"""A node that answers as a real one did once: dumps and tool output as recorded, or with bytes changed.

Record anew, as root, with `python -m tests.fuzz.recorded`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.engine.reader import Dump, ObservationFailed
from reconciler.kernel.node import KernelNode

FILE = Path(__file__).with_name("recorded.json")
Answer = Callable[[str, Any], Any]  # (question, what was recorded) → what is answered


def as_it_was(question: str, answer: Any) -> Any:
    """Nothing changed."""
    return answer


def recorded() -> dict[str, Any]:
    """Question → answer: a list of buffers for a dump, a text for a tool or a file."""
    found = json.loads(FILE.read_text())
    return {
        question: [base64.b64decode(one) for one in answer] if isinstance(answer, list) else answer for question, answer in found.items()
    }


class _Netfilter:
    def __init__(self, node: Recorded) -> None:
        self._node = node

    def generation(self) -> None:
        return None

    def dump(self, request: Dump) -> tuple[bytes, ...]:
        return self._node.dump("nft", request)


class Recorded(KernelNode):
    """Answers from a record; `change` has the last word on each answer."""

    def __init__(self, answers: Mapping[str, Any], change: Answer = as_it_was) -> None:
        super().__init__()
        self._answers, self._change = answers, change

    def _answer(self, question: str, absent: Any) -> Any:
        return self._change(question, self._answers.get(question, absent))

    def dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        return tuple(self._answer(f"dump {netns} {request.type} {request.body.hex()}", []))

    def _ask_netfilter(self, netns: str, ask: Callable[[Any], Any]) -> Any:
        return ask(_Netfilter(self))

    def tool(self, netns: str, words: Sequence[str]) -> str:
        text = self._answer(f"tool {' '.join(words)}", None)
        if text is None:
            raise ObservationFailed("not recorded")
        found: str = text
        return found

    def read(self, netns: str, path: str) -> bytes | None:
        text = self._answer(f"read {path}", None)
        return None if text is None else str(text).encode("utf-8", "surrogatepass")

    def names(self, path: str) -> tuple[str, ...]:
        return tuple(self._answer(f"names {path}", "").split())

    @contextmanager
    def visit(self, netns: Sequence[str]) -> Iterator[Mapping[str, str]]:
        yield {}


class _Recorder(KernelNode):
    """Asks the kernel, and keeps what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}

    def dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        found = super().dump(netns, request)
        self.kept[f"dump {netns} {request.type} {request.body.hex()}"] = [base64.b64encode(one).decode() for one in found]
        return found

    def nft_dump(self, netns: str, request: Dump) -> tuple[bytes, ...]:
        found = super().nft_dump(netns, request)
        self.kept[f"dump nft {request.type} {request.body.hex()}"] = [base64.b64encode(one).decode() for one in found]
        return found

    def tool(self, netns: str, words: Sequence[str]) -> str:
        found = super().tool(netns, words)
        self.kept[f"tool {' '.join(words)}"] = found
        return found

    def read(self, netns: str, path: str) -> bytes | None:
        found = super().read(netns, path)
        if found is not None:
            self.kept[f"read {path}"] = found.decode()
        return found

    def names(self, path: str) -> tuple[str, ...]:
        found = super().names(path)
        self.kept[f"names {path}"] = " ".join(found)
        return found


def record() -> None:
    """One node of the safety tests with foreign objects of many sorts beside ours."""
    from reconciler.engine.observe import observe
    from reconciler.facts.model import Node
    from reconciler.kernel.host import observe_host
    from reconciler.kinds import all_kinds
    from tests.namespaces import fresh_namespace, sh
    from tests.safety.node import SPEC, converge, scope, uplink
    from tests.safety.test_foreign import THEIRS

    folder = "/tmp/plumbline/cni/net.d"
    more = f"cni: {{confDir: {folder}}}\nresources: {{rule: {{x: {{family: 4, priority: 9, src: 10.9.0.0/16, fwmark: 1, dport: 80-90, table: 9}}}}}}\n"
    text = SPEC.replace("fabric:\n", "fabric:\n  forwardAccept: true\n") + more.replace("fwmark: 1", 'fwmark: "1"')
    with fresh_namespace():
        uplink()
        sh(THEIRS)
        sh("nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'")
        sh(
            "ip link add mv0 link eth0 type macvlan mode bridge; ip route add 10.97.0.0/16 nexthop via 10.0.1.1 dev eth0 nexthop via 10.0.1.2 dev eth0 weight 3"
        )
        sh(
            "ip neigh add proxy 10.0.1.200 dev eth0; ip nexthop add id 9 group 5/1577058305; ip route add blackhole 10.96.0.0/16; ip route add 10.95.0.0/16 dev eth0 mtu 1400 advmss 1360"
        )
        wanted = scope(text)
        converge(wanted)
        io = _Recorder()
        seen = observe(all_kinds(), io, wanted)
        assert not [seen.failure(name) for name in seen if seen.failure(name)]
        observe_host(io, Node("n1"))
        io.close()
    sh(f"rm -r {folder.removesuffix('/cni/net.d')}")
    FILE.write_text(json.dumps(io.kept | openvswitch_too(), indent=1) + "\n")


def openvswitch_too() -> dict[str, Any]:
    """Bridges and ports of Open vSwitch, as if its database were the machine's own."""
    from reconciler.engine.model import Wanted
    from reconciler.engine.observe import observe
    from reconciler.engine.reader import Scope
    from reconciler.kinds import all_kinds
    from tests.namespaces import fresh_namespace
    from tests.openvswitch import openvswitch

    io = _Recorder()
    with fresh_namespace() as name, openvswitch(name) as switch:
        switch.vsctl(
            "add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure protocols=OpenFlow13,OpenFlow15 other_config:forward-bpdu=true "
            "external_ids:plumbline=underlay external_ids:plumbline-keys=forward-bpdu, -- add-port br-int p0 tag=7 external_ids:plumbline=underlay "
            "-- set interface p0 type=internal mtu_request=1400 external_ids:iface-id=n1 -- add-br br-theirs -- set bridge br-theirs datapath_type=netdev "
            "-- add-port br-theirs p1 vlan_mode=native-tagged tag=5 trunks=5,7 -- set interface p1 type=patch options:peer=p2"
        )
        seen = observe(all_kinds(), io, Scope(("",), Wanted(), switch.root), ("ovs_bridge", "ovs_port"))
        assert all(seen.rows(name) for name in seen), seen.observed
        io.close()
    return {question.replace(f" --db={switch.socket}", "").replace(switch.root, ""): answer for question, answer in io.kept.items()}


if __name__ == "__main__":
    record()
