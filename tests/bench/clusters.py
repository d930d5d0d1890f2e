"""Clusters of any size for benchmarks: network.yaml for one real node, n0, and manifests of its many peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.namespaces import sh


class Files(NamedTuple):
    spec: Path
    facts: Path


def write(folder: Path, count: int, *, dual: bool = False) -> Files:
    """`count` peers of n0, each with an address of its own and one pod CIDR of each family."""
    networks = '100.64.0.0/10, "fd64::/32"' if dual else "100.64.0.0/10"
    cidrs = '100.127.255.0/24, "fd64:0:ffff::/64"' if dual else "100.127.255.0/24"
    files = Files(folder / "network.yaml", folder / "nodes.json")
    files.spec.write_text(
        "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
        f"nodes: {{n0: {{address: 10.0.0.1/8, podCIDRs: [{cidrs}]}}}}\n"
        f"fabric: {{podNetwork: [{networks}], masquerade: false}}\nlimits: {{maxDeletes: 100%}}\n"
    )
    files.facts.write_text(json.dumps({"kind": "NodeList", "items": [_node(number, dual) for number in range(1, count + 1)]}))
    return files


def _node(number: int, dual: bool) -> dict[str, object]:
    cidrs = [f"100.{64 + (number >> 8)}.{number & 255}.0/24"]
    if dual:
        cidrs.append(f"fd64:0:{number:x}::/64")
    return {
        "metadata": {"name": f"n{number}", "labels": {"kubernetes.io/hostname": f"n{number}"}},
        "spec": {"podCIDRs": cidrs},
        "status": {"addresses": [{"type": "InternalIP", "address": f"10.1.{number >> 8}.{number & 255}"}]},
    }


def host() -> None:
    """n0, in the namespace of this thread."""
    sh("ip link add eth0 type veth peer name wire && ip link set wire up && ip link set eth0 up && ip addr add 10.0.0.1/8 dev eth0")
    sh("ip route add default via 10.255.255.254")
