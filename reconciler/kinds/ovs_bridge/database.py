"""What `ovs-vsctl` tells of Open vSwitch's database (ovs-vswitchd.conf.db(5)), and whose things in it are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.engine.reader import ObservationFailed, Reader, Scope, ToolMissing
from reconciler.kinds.ovs_bridge.settings import KEYS, MARK, Setting

FOLDER = "/var/run/openvswitch"  # where every distribution has it
SOCKET = "db.sock"
NOT_TAKEN = "ovs-vswitchd has not taken it: is it running, and does this kernel have the data path?"
_TIMEOUT = 5  # seconds; a database that does not answer within them hangs
_LONGEST = 200  # characters of an error
Record = Mapping[str, Any]  # column to value: a text, a tuple for a set (of at most one, where it may be empty), a dict for a map


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise ValueError(f"found {said!r}, not a text")
    return said


def _map(said: Any) -> dict[str, str]:
    if not isinstance(said, dict):
        raise ValueError(f"found {said!r}, not a map")
    return said


def _set_of(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    def shape(said: Any) -> tuple[Any, ...]:
        found = said if isinstance(said, tuple) else (said,)  # one element alone is told without its brackets
        if not all(isinstance(one, kind) for one in found):
            raise ValueError(f"found {said!r}, not a set of {kind.__name__}")
        return found

    return shape


_TEXTS, _NUMBERS = _set_of(str), _set_of(int)
_COLUMNS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "bridge": {
        **{"_uuid": _text, "name": _text, "datapath_type": _text, "fail_mode": _TEXTS, "protocols": _TEXTS},
        **{"other_config": _map, "external_ids": _map, "ports": _TEXTS},
    },
    "port": {
        **{"_uuid": _text, "name": _text, "tag": _NUMBERS, "vlan_mode": _TEXTS, "trunks": _NUMBERS},
        **{"external_ids": _map, "interfaces": _TEXTS},
    },
    "interface": {
        **{"_uuid": _text, "name": _text, "type": _text, "options": _map, "mtu_request": _NUMBERS},
        **{"external_ids": _map, "ofport": _NUMBERS, "error": _TEXTS},
    },
}


class Database(NamedTuple):
    """The tables that bridges and ports stand in, each by the UUID of its records, as of one moment."""

    bridges: Mapping[str, Record]
    ports: Mapping[str, Record]
    interfaces: Mapping[str, Record]

    def ports_of(self, bridge: Record) -> Iterator[Record]:
        """The ports that people made: a bridge's own one, of its name, comes and goes with it."""
        for uuid in bridge["ports"]:
            port = self.ports.get(uuid)
            if port is not None and port["name"] != bridge["name"]:
                yield port

    def interfaces_of(self, port: Record) -> list[Record]:
        """One; several in a bond."""
        return [self.interfaces[uuid] for uuid in port["interfaces"] if uuid in self.interfaces]

    def local(self, bridge: Record) -> Record | None:
        """The interface by which the node itself takes part in a bridge."""
        return next((one for one in self.interfaces.values() if one["name"] == bridge["name"]), None)


_NOTHING = Database({}, {}, {})


def read(io: Reader, scope: Scope, kind: str) -> Database:
    """All of it, in one transaction. Who wants nothing of Open vSwitch needs neither it nor its tool. Raises ObservationFailed."""
    wanted = bool(scope.wanted.of(kind))
    if not wanted and SOCKET not in io.names(scope.root + FOLDER):
        return _NOTHING
    try:
        return parsed(io.tool("", _question(scope.root)))
    except ToolMissing:
        if not wanted:
            return _NOTHING
        raise
    except ObservationFailed as failure:
        if not any(why in str(failure) for why in ("No such file", "Connection refused")):
            raise
        if not wanted:
            return _NOTHING
        where = f"{scope.root}{FOLDER}/{SOCKET}"
        raise ObservationFailed(
            f"no Open vSwitch database at {where}: start it (systemctl start openvswitch-switch), "
            f"and where plumbline runs in a container, mount the host's {FOLDER} there"
        ) from failure


def _question(root: str) -> tuple[str, ...]:
    words = ["ovs-vsctl", f"--timeout={_TIMEOUT}", "--no-wait", "--format=json"]
    if root:
        words.append(f"--db=unix:{root}{FOLDER}/{SOCKET}")
    for table, columns in _COLUMNS.items():
        words += ["--", f"--columns={','.join(columns)}", "list", table]
    return tuple(words)


def parsed(text: str) -> Database:
    """From one JSON text per table and line. Raises ValueError or LookupError for anything else."""
    tables = [json.loads(line) for line in text.splitlines()]
    if len(tables) != len(_COLUMNS):
        raise ValueError(f"ovs-vsctl printed {len(tables)} tables of {len(_COLUMNS)}")
    bridges, ports, interfaces = (
        {record["_uuid"]: record for record in _records(table, columns)} for table, columns in zip(tables, _COLUMNS.values(), strict=True)
    )
    return Database(bridges, ports, interfaces)


def _records(table: Any, shapes: Mapping[str, Callable[[Any], Any]]) -> Iterator[Record]:
    if not isinstance(table, dict) or set(table["headings"]) != set(shapes):
        raise ValueError("ovs-vsctl printed other columns than it was asked for")
    for row in table["data"]:
        yield {name: shapes[name](_value(value)) for name, value in zip(table["headings"], row, strict=True)}


def _value(said: Any) -> Any:
    """RFC 7047, section 5.1: an atom, ["uuid", U], ["set", [atom…]] or ["map", [[key, value]…]]."""
    if not isinstance(said, list):
        return said
    what, inner = said
    if what == "uuid":
        return str(inner)
    if what == "set":
        return tuple(_value(one) for one in inner)
    if what == "map":
        return {str(key): str(value) for key, value in inner}
    raise ValueError(f"{what!r} is no value of OVSDB")


def one(value: tuple[Any, ...], absent: Any) -> Any:
    """The value of a column that may be empty."""
    return value[0] if value else absent


def intent(record: Record) -> str:
    """The intent that made it; "" where plumbline did not."""
    return str(record["external_ids"].get(MARK, ""))


def settings(record: Record, said: Mapping[str, str]) -> tuple[Setting, ...]:
    """Of what we made, the entries that we put there: others keep theirs beside them. Of what others made, all."""
    ids = record["external_ids"]
    ours = set(ids.get(KEYS, "").split(",")) if MARK in ids else set(said)
    return tuple(sorted(Setting(name, value) for name, value in said.items() if name in ours))


def error(interface: Record | None) -> str:
    """What ovs-vswitchd says is wrong with an interface; empty when it works."""
    taken = interface is not None and interface["ofport"]
    told = one(interface["error"], "") if interface is not None else ""
    return " ".join((told or ("" if taken else NOT_TAKEN)).split())[:_LONGEST]
