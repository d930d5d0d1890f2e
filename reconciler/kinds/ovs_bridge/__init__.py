"""Kind `ovs_bridge`: bridges of Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Seen, with_fields
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.ovs_bridge import database
from reconciler.kinds.ovs_bridge.advice import advice
from reconciler.kinds.ovs_bridge.database import Database, Record
from reconciler.kinds.ovs_bridge.row import OvsBridge, OvsBridgeKey, ovs_bridge
from reconciler.kinds.ovs_bridge.settings import Setting, adopted_or_marked, held, in_order
from reconciler.kinds.spelling import BadValue

__all__ = ["KIND", "OvsBridge", "OvsBridgeKey", "Setting", "ovs_bridge"]


class OvsBridgeKind(Kind[OvsBridge]):
    """Known as ours by external_ids:plumbline, which names the intent and is set in the transaction that makes the bridge.

    A bridge of ours that holds ports of others when nothing wants it any more
    is given away and not removed: only our mark is. The kernel's device of its
    name is made by ovs-vswitchd and is nobody's `link`.
    """

    name = "ovs_bridge"
    rank = 27
    row = OvsBridge
    grammar = (("ovs-vsctl", "--timeout=10"),)  # which commands may follow: kernel/ovs.py
    uncompared = 4
    rechecked = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[OvsBridge]:
        found = database.read(io, scope, self.name)
        return [_row(scope.root, found, bridge) for bridge in found.bridges.values()]

    def owner(self, row: OvsBridge, seen: Seen) -> Owner:
        return Owner.OURS if row.intent else Owner.FOREIGN

    def identity(self, row: OvsBridge) -> int | None:
        return int(row.uuid[:8], 16) if row.uuid else None

    def differs(self, old: OvsBridge, new: OvsBridge) -> tuple[str, ...]:
        enough = new.adopt and held(old.other_config, new.other_config)
        told = {"error": f"error: {old.error}"}
        return tuple(told.get(name, name) for name in super().differs(old, new) if not (enough and name == "other_config"))

    def normal(self, row: OvsBridge) -> OvsBridge:
        if row.error:
            raise BadValue("is what ovs-vswitchd says: leave it out", "error")
        return row._replace(
            intent=adopted_or_marked(row.intent, row.adopt),
            protocols=None if row.protocols is None else tuple(sorted(set(row.protocols))),
            other_config=in_order(row.other_config, "other_config"),
        )

    def below(self, row: OvsBridge, root: str) -> OvsBridge:
        return with_fields(row, key=row.key._replace(root=root))

    def fresh(self, row: OvsBridge) -> OvsBridge:
        return OvsBridge(row.key)

    def advice(self, row: OvsBridge, failure: str) -> str:
        return advice(failure)

    def describe(self, row: OvsBridge) -> str:
        return f"holds ports of others: {', '.join(row.others)}" if row.others else ""


def _row(root: str, found: Database, bridge: Record) -> OvsBridge:
    return OvsBridge(
        OvsBridgeKey(root, bridge["name"]),
        database.intent(bridge),
        bridge["datapath_type"] or "system",
        database.one(bridge["fail_mode"], "standalone"),
        tuple(sorted(bridge["protocols"])),
        database.settings(bridge, bridge["other_config"]),
        database.error(found.local(bridge)),
        others=tuple(sorted(port["name"] for port in found.ports_of(bridge) if not database.intent(port))),
        uuid=bridge["_uuid"],
    )


KIND = OvsBridgeKind()
