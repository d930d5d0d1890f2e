"""A bridge of Open vSwitch (ovs-vswitchd.conf.db(5), tables Bridge and Interface)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.ovs_bridge.settings import Intent, Setting
from reconciler.kinds.spelling import Device, FreeText, one_of

OpenFlow = Annotated[str, one_of(*(f"OpenFlow1{minor}" for minor in range(6)))]
FailMode = Annotated[str, one_of("standalone", "secure")]
DatapathType = Annotated[str, one_of("system", "netdev")]


class OvsBridgeKey(NamedTuple):
    root: str  # the folder that stands for / of the node whose database it is in; "" on a real node
    name: Device


class OvsBridge(NamedTuple):
    """A bridge of Open vSwitch, with the columns of its table. Its own port and interface come and go with it."""

    key: OvsBridgeKey
    intent: Intent | None = ""  # external_ids:plumbline, our mark; "": others made it
    datapath_type: DatapathType | None = "system"  # system: the kernel's; netdev: in user space
    fail_mode: FailMode | None = "standalone"  # without a controller: a learning switch, or (secure) nothing but its flows
    protocols: tuple[OpenFlow, ...] | None = ()  # that a controller may speak; (): all
    other_config: tuple[Setting, ...] | None = ()  # ours only; others keep theirs
    error: FreeText | None = ""  # seen only: what ovs-vswitchd says is wrong
    adopt: bool = False  # set what is stated of a bridge that somebody else made
    others: tuple[str, ...] = ()  # seen only: ports on it that are not ours
    uuid: str = ""  # seen only
    origin: tuple[Origin, ...] = ()


def ovs_bridge(
    name: str,
    intent: str,
    *,
    root: str = "",
    datapath_type: str = "system",
    fail_mode: str = "standalone",
    protocols: Iterable[str] = (),
    other_config: Iterable[tuple[str, str]] = (),
) -> OvsBridge:
    """A wanted bridge of an intent; `root` is the folder that stands for / (a lab's node), "" on a real node."""
    more = tuple(sorted(Setting(*entry) for entry in other_config))
    return OvsBridge(OvsBridgeKey(root, name), intent, datapath_type, fail_mode, tuple(sorted(protocols)), more)
