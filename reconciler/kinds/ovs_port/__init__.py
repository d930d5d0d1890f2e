"""Kind `ovs_port`: ports of bridges of Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import NO_EFFECT, Kind
from reconciler.engine.model import Owner, Ref, Seen, with_fields
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.needs import on_link
from reconciler.kinds.ovs_bridge import database
from reconciler.kinds.ovs_bridge.advice import advice
from reconciler.kinds.ovs_bridge.database import Database, Record
from reconciler.kinds.ovs_bridge.settings import adopted_or_marked, held, in_order
from reconciler.kinds.ovs_port.row import OvsPort, OvsPortKey, effective_mode, ovs_port
from reconciler.kinds.spelling import BadValue

__all__ = ["KIND", "OvsPort", "OvsPortKey", "ovs_port"]

BOND = "bond"  # a port of several interfaces: seen, so that its name is taken


class OvsPortKind(Kind[OvsPort]):
    """Known as ours by external_ids:plumbline, which names the intent and is set in the transaction that makes the port.

    A port outlives its device: ovs-vswitchd takes it up again when one of that
    name comes back. A device that Open vSwitch makes for an internal port is
    nobody's `link`.
    """

    name = "ovs_port"
    rank = 28
    row = OvsPort
    grammar = (("ovs-vsctl", "--timeout=10"),)  # which commands may follow: kernel/ovs.py
    uncompared = 3
    detach_first = True  # its bridge may stay, for others
    rechecked = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[OvsPort]:
        found = database.read(io, scope, self.name)
        return [_row(scope.root, found, bridge["name"], port) for bridge in found.bridges.values() for port in found.ports_of(bridge)]

    def owner(self, row: OvsPort, seen: Seen) -> Owner:
        return Owner.OURS if row.intent else Owner.FOREIGN

    def identity(self, row: OvsPort) -> int | None:
        return int(row.uuid[:8], 16) if row.uuid else None

    def needs(self, row: OvsPort) -> tuple[Ref, ...]:
        bridge = (Ref("ovs_bridge", (row.key.root, row.bridge)),) if row.bridge else ()
        return bridge + (on_link("", row.key.name) if row.type == "system" else ())

    def without(self, row: OvsPort, parent: Ref) -> OvsPort | None:
        return row if parent.kind == "link" else None

    def replaces(self, old: OvsPort, new: OvsPort) -> str | None:
        return "a port is on one bridge" if new.bridge not in (None, old.bridge) else None

    def differs(self, old: OvsPort, new: OvsPort) -> tuple[str, ...]:
        enough = new.adopt and held(old.external_ids, new.external_ids)
        told = {"error": f"error: {old.error}"}
        return tuple(told.get(name, name) for name in super().differs(old, new) if not (enough and name == "external_ids"))

    def normal(self, row: OvsPort) -> OvsPort:
        intent = adopted_or_marked(row.intent, row.adopt)
        if not row.bridge and not row.adopt:
            raise BadValue("say which bridge the port is on", "bridge")
        if row.error:
            raise BadValue("is what ovs-vswitchd says: leave it out", "error")
        if bool(row.peer) is not (row.type == "patch") and not row.adopt:
            raise BadValue("a port of type patch names its peer, the port at the other end; no other does", "peer")
        if row.vlan_mode == "trunk" and row.tag:
            raise BadValue("a trunk port has no VLAN of its own: say vlanMode native-untagged or native-tagged", "tag")
        if row.trunks and effective_mode(row.vlan_mode or "", bool(row.tag)) == "access":
            raise BadValue("an access port carries one VLAN, its tag: say vlanMode native-untagged", "trunks")
        mode = row.vlan_mode if row.vlan_mode is None else effective_mode(row.vlan_mode, bool(row.tag))
        trunks = None if row.trunks is None else tuple(sorted(set(row.trunks)))
        return row._replace(intent=intent, vlan_mode=mode, trunks=trunks, external_ids=in_order(row.external_ids, "external_ids"))

    def below(self, row: OvsPort, root: str) -> OvsPort:
        return with_fields(row, key=row.key._replace(root=root))

    def fresh(self, row: OvsPort) -> OvsPort:
        return OvsPort(row.key, vlan_mode=effective_mode("", bool(row.tag)))

    def advice(self, row: OvsPort, failure: str) -> str:
        if failure == NO_EFFECT and row.type == "patch":
            return f"state the other end too: {row.peer} of type patch, with peer {row.key.name}, on a bridge of the same datapathType"
        return advice(failure)


def _row(root: str, found: Database, bridge: str, port: Record) -> OvsPort:
    interfaces = found.interfaces_of(port)
    interface = interfaces[0] if len(interfaces) == 1 else None
    tag = database.one(port["tag"], None)
    return OvsPort(
        OvsPortKey(root, port["name"]),
        bridge,
        database.intent(port),
        (interface["type"] or "system") if interface else BOND,
        effective_mode(database.one(port["vlan_mode"], ""), tag is not None),
        tag or 0,
        tuple(sorted(port["trunks"])),
        interface["options"].get("peer", "") if interface else "",
        database.one(interface["mtu_request"], 0) if interface else 0,
        database.settings(port, interface["external_ids"]) if interface else (),
        database.error(interface) if interface else "",
        uuid=port["_uuid"],
    )


KIND = OvsPortKind()
