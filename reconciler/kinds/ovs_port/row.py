"""A port of a bridge of Open vSwitch, and its one interface (ovs-vswitchd.conf.db(5), tables Port and Interface)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.ovs_bridge.settings import Intent, Setting
from reconciler.kinds.spelling import U16, Device, FreeText, Vlan, one_of

VlanMode = Annotated[str, one_of("access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel")]
Type = Annotated[str, one_of("system", "internal", "patch")]


class OvsPortKey(NamedTuple):
    root: str  # the folder that stands for / of the node whose database it is in; "" on a real node
    name: Device  # one in a database, whatever bridge it is on


class OvsPort(NamedTuple):
    """A port of a bridge of Open vSwitch: a device that is there (system), one that it makes (internal), or a way to another (patch)."""

    key: OvsPortKey
    bridge: Device | None = ""
    intent: Intent | None = ""  # external_ids:plumbline, our mark; "": others made it
    type: Type | None = "system"
    vlan_mode: VlanMode | None = ""  # access where there is a tag, else trunk
    tag: Vlan | None = 0  # the VLAN of untagged frames; 0: none
    trunks: tuple[Vlan, ...] | None = ()  # sorted; (): all
    peer: Device | None = ""  # of type patch: the port at the other end
    mtu_request: U16 | None = 0  # 0: Open vSwitch chooses
    external_ids: tuple[Setting, ...] | None = ()  # of the interface: iface-id and the like; ours only, others keep theirs
    error: FreeText | None = ""  # seen only: what ovs-vswitchd says is wrong
    adopt: bool = False  # set what is stated of a port that somebody else made
    uuid: str = ""  # seen only
    origin: tuple[Origin, ...] = ()


def effective_mode(said: str, tagged: bool) -> str:
    """What an empty vlan_mode means."""
    return said or ("access" if tagged else "trunk")


def ovs_port(
    bridge: str,
    name: str,
    intent: str,
    *,
    root: str = "",
    type: str = "system",
    vlan_mode: str = "",
    tag: int = 0,
    trunks: Iterable[int] = (),
    peer: str = "",
    mtu_request: int = 0,
    external_ids: Iterable[tuple[str, str]] = (),
) -> OvsPort:
    """A wanted port of an intent; `root` as for `ovs_bridge`."""
    ids = tuple(sorted(Setting(*entry) for entry in external_ids))
    mode = effective_mode(vlan_mode, bool(tag))
    return OvsPort(OvsPortKey(root, name), bridge, intent, type, mode, tag, tuple(sorted(trunks)), peer, mtu_request, ids)
