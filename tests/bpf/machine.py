"""A node whose / is a folder, with a bpffs, a cgroup and a NIC of its own: services are put in place there as on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reconciler.engine.guard import Limits
from reconciler.engine.model import Wanted
from reconciler.engine.reader import scope_of
from reconciler.engine.round import Result, Round
from reconciler.facts.model import Facts, Host, Node, NodeAddress, Service
from reconciler.intents import Context, Memo, compile_node
from reconciler.kernel import services as host_services
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.spec.load import Loaded
from tests.bpf.node import cgroup_of_its_own
from tests.bpf.objects import build
from tests.bpf.places import cgroup_root, pin_folder, require_tools
from tests.namespaces import sh

ANYTHING = Limits(1.0, 1 << 30)


class Machine(NamedTuple):
    """A node whose / is a folder: a bpffs and a cgroup lie in it."""

    spec: Loaded
    root: str
    io: KernelNode
    engine: Round
    memo: Memo

    def apply(self, *services: Service, section: bool = True, engine: Round | None = None) -> Result:
        wanted = self.wanted(services) if section else Wanted()
        return (engine or self.engine).converge(scope_of(wanted, self.root))

    def unknown(self, engine: Round) -> Result:
        return engine.converge(scope_of(self.wanted(None), self.root))

    def wanted(self, services: tuple[Service, ...] | None) -> Wanted:
        node = Node("n1", (NodeAddress("10.0.1.11", 24),))
        host = host_services.with_services(Host("nic0", 1500, root=self.root), self.io, self.spec.spec.services)
        facts = Facts({"n1": node}, host, services=services)
        compiled = compile_node(Context(self.spec.spec, facts, "n1", self.spec.where, self.memo))
        assert not compiled.clashes
        assert not [one for one in compiled.remarks if one.error]
        return compiled.wanted

    def afresh(self, limits: Limits = ANYTHING) -> Round:
        return Round(self.io, all_kinds(), limits=limits, name="n1")


@contextmanager
def machine_of_its_own(spec: Loaded, folder: Path) -> Iterator[Machine]:
    """In the namespace of this thread. Raises Unavailable."""
    require_tools()
    build("stub", "sock", "device")
    host_services.objects.cache_clear()
    cgroups = cgroup_root()
    sh(
        "ip link add nic0 type veth peer name wire0; ip addr add 10.0.1.11/24 dev nic0; ip link set nic0 up; ip link set wire0 up; ip link set lo up"
    )
    sh("ip addr add 10.244.1.10/32 dev lo; ip addr add 10.244.1.11/32 dev lo; ip route add default dev nic0")
    with pin_folder() as pins, cgroup_of_its_own(cgroups) as cgroup:
        system = folder / "sys/fs"
        system.mkdir(parents=True)
        (system / "bpf").symlink_to(pins)
        (system / "cgroup").symlink_to(cgroup)
        io = KernelNode()
        try:
            yield Machine(spec, str(folder), io, Round(io, all_kinds(), limits=ANYTHING, name="n1"), Memo())
        finally:
            io.close()
