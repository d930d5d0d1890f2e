"""Kubernetes objects as an API gives them, with all that is not read."""

from __future__ import annotations

from typing import Any

Thing = dict[str, Any]


def node(name: str, address: str = "10.0.1.11", cidr: str = "10.244.1.0/24", beat: int = 0, **labels: str) -> Thing:
    """`beat`: another heartbeat of the same node."""
    conditions = [
        {
            "type": kind,
            "status": "False",
            "lastHeartbeatTime": f"2024-01-01T00:00:{beat % 60:02}Z",
            "reason": f"Kubelet{kind}",
            "message": "kubelet is fine",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    images = [
        {"names": [f"registry.example/team/image-{number}@sha256:{number:064x}"], "sizeBytes": 10_000_000 + number} for number in range(50)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "a", **labels},
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "capacity": {"cpu": "64", "memory": "263856272Ki", "pods": "110"},
            "conditions": conditions,
            "images": images,
            "nodeInfo": {"kernelVersion": "6.1.0", "kubeletVersion": "v1.36.0", "bootID": f"{beat}"},
        },
    }


def pod(
    name: str, node: str = "n1", address: str = "10.244.1.5", namespace: str = "default", labels: Thing | None = None, **annotations: str
) -> Thing:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}, "annotations": annotations},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "registry.example/main:1", "env": [{"name": "A", "value": "b"}]}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": "True"}]},
    }
