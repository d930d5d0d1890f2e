"""What a network namespace does not separate, separated all the same: each node's pins and its cgroup, below its own root.

A node of the lab finds its bpffs and its cgroup where a real one does, below the folder that stands for / there
(`state.Lab.root`): the BPF file system is the node's own, the cgroup a child of the machine's version 2 hierarchy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reconciler.kernel.processes import ToolFailed
from reconciler.kernel.tools import run_tool
from reconciler.lab.state import Lab
from reconciler.lab.topology import LabError

BPFFS, CGROUP = "sys/fs/bpf", "sys/fs/cgroup"  # below a node's root
_MOUNTS = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5)


def mount(lab: Lab) -> None:
    """For every node. Raises LabError; what was mounted until then stays, for `unmount`."""
    above = _unified()
    for machine in lab.topology.machines:
        root, cgroup = Path(lab.root(machine.name)), above / _name(lab, machine.name)
        try:
            cgroup.mkdir(exist_ok=True)
            for folder in (BPFFS, CGROUP):
                (root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(f"{error.filename}: {error.strerror}") from error
        _tool(("mount", "-t", "bpf", "plumbline-lab", str(root / BPFFS)))
        _tool(("mount", "--bind", str(cgroup), str(root / CGROUP)))


def unmount(lab: Lab) -> None:
    """Whatever of it is there: with the mounts go the pins, and with them the programs. Raises LabError."""
    for machine in lab.topology.machines:
        root = Path(lab.root(machine.name))
        for folder in (BPFFS, CGROUP):
            if os.path.ismount(root / folder):
                _tool(("umount", str(root / folder)))
    for one in _cgroups(lab):
        try:
            one.rmdir()
        except OSError as error:
            raise LabError(f"{one}: {error.strerror}; end the processes that it names: cat {one}/cgroup.procs") from error


def join(lab: Lab, node: str, words: Sequence[str]) -> list[str]:
    """A command that joins a node's cgroup first, where the lab has one."""
    folder = Path(lab.root(node)) / CGROUP
    if not os.path.ismount(folder):
        return list(words)
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(folder / "cgroup.procs"), *words]


def _cgroups(lab: Lab) -> list[Path]:
    try:
        above = _unified()
    except LabError:
        return []
    return [one for machine in lab.topology.machines if (one := above / _name(lab, machine.name)).is_dir()]


def _name(lab: Lab, node: str) -> str:
    return f"plumbline-lab.{lab.name}.{node}"


def _unified() -> Path:
    """Where the machine's cgroup hierarchy of version 2 is: mostly /sys/fs/cgroup, /sys/fs/cgroup/unified beside version 1."""
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.split()[0] == "cgroup2" and fields[3] == "/":
            return Path(fields[4])
    raise LabError("services need a cgroup of version 2 for each node, and none is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")


def _tool(words: Sequence[str]) -> None:
    try:
        done = run_tool("", words)
    except ToolFailed as failure:
        raise LabError(str(failure)) from failure
    if done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {' '.join(done.stderr.split())}")
