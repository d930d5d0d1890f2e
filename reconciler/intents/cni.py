"""Intent `cni`: the file that tells the container runtime how to connect pods (CNI 1.1.0, network configuration list)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from reconciler.engine.model import Absent, Origin, Ref, Unknown
from reconciler.intents import Context, Remark
from reconciler.intents.fabric import device_mtu
from reconciler.kinds.file import file
from reconciler.spec.cni import Cni

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def rows(context: Context) -> Iterable[Any]:
    """The conflist, put in place only once the node's network is: its presence tells the kubelet "ready".

    One that the last boot has left says so too early, and is taken back until then.
    """
    cni = context.spec.cni
    if cni is None:
        return
    node = context.facts.nodes.get(context.node)
    host = context.facts.host
    where = context.where(("cni",))
    if node is None or not node.pod_cidrs:
        yield Remark(f"{context.node} has no pod CIDR yet: its CNI file is not written", where)
        return
    content = json.dumps(conflist(cni, node.pod_cidrs, device_mtu(context)), indent=2) + "\n"
    row = file(f"{cni.conf_dir}/{cni.file}", content, root=host.root if host else "", waits=True)
    if host is not None and not host.settled:
        text = f"{row.key.path} waits for the first round since boot that leaves nothing to do"
        yield Remark(text, where, withholds=Ref("file", row.key))
        yield Absent(row, text, origin=(Origin("cni", "readiness", where),))  # its folder is looked into, whichever it is
        return
    yield row._replace(origin=(Origin("cni", f"pods of {context.node}", where),))


def conflist(cni: Cni, pod_cidrs: Iterable[str], mtu: int | Unknown) -> dict[str, Any]:
    """bridge with host-local addresses out of the node's pod CIDRs, then portmap, then (`chained`) our own plugin."""
    cidrs = tuple(pod_cidrs)
    families = sorted({6 if ":" in cidr else 4 for cidr in cidrs})
    bridge = {
        "type": "bridge",
        "bridge": cni.bridge,
        "isGateway": True,  # and the default route by ipam: plugins up to 1.1 at least fail to add both ("file exists")
        "ipMasq": False,  # the fabric masquerades, and only what leaves the pod network
        "hairpinMode": True,  # a pod may reach itself by way of a service
        "mtu": mtu,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": cidr} for cidr in cidrs if (":" in cidr) is (family == 6)] for family in families],
            "routes": [{"dst": EVERYWHERE[family]} for family in families],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    if cni.chained:
        plugins.append({"type": "plumbline"})  # the last to be added and the first to be deleted: eth0 is there all the while
    return {"cniVersion": cni.cni_version, "name": cni.name, "plugins": plugins}
