"""plumbline inspect: the segments and their members, in kube-vxlan-controller's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from reconciler.cli.inputs import read_inputs
from reconciler.cli.members import WRONG, Live, differences, live, members_of, should_be
from reconciler.cli.options import facts_option
from reconciler.cli.remarks import tell
from reconciler.cli.trouble import CannotGoOn
from reconciler.intents import Remark
from reconciler.intents.membership import REFERENCE_PORT, Member, Members
from reconciler.report import screen

FIELDS = ("pod", "net", "fdb", "dev", "route")
USUAL = "pod,net,fdb"


@click.group()
def inspect() -> None:
    """Print information about a desired entity."""


@inspect.command("nets")
@click.argument("nets", nargs=-1)
@click.option("--config", required=True, metavar="PATH", help="network.yaml, or its folder.")
@facts_option
@click.option("--fields", default=USUAL, show_default=True, help="Any of pod,net,fdb,dev,route, with commas between; or all.")
def nets(nets: Sequence[str], config: str, facts: Sequence[str], fields: str) -> int:
    """The members of segments, of those named or of all, and where each floods to.

    Members on this host are shown as its kernel has them, others as they should be. What differs
    from what should be is marked with "!", and the exit status is 1.
    """
    chosen = _fields(fields)
    inputs = read_inputs(config, facts)
    found = members_of(inputs)
    known = list(dict.fromkeys([*inputs.loaded.spec.segments, *found.segments]))
    unknown = [name for name in nets if name not in known]
    if unknown:
        raise CannotGoOn([f"there is no segment {unknown[0]}; known: {', '.join(known) or 'none'}"])
    tell(Remark(str(fault), error=True) for fault in found.faults if not nets or fault.segment in nets)
    wrong = elsewhere = 0
    with live(inputs) as host:
        for name in nets or known:
            screen.write(f"[{name}]")
            for member in found.segments.get(name, ()):
                fdb = _fdb(found, member, host)
                wrong += any(line.startswith(WRONG) for line in fdb)
                elsewhere += not host.here(member)
                for line in _member(found, member, host, chosen, fdb):
                    screen.write(line)
                screen.write("")
    if elsewhere:
        screen.errors([f"{elsewhere} members are not on this host: they are shown as they should be"], "note")
    return 1 if wrong else 0


def _fields(text: str) -> tuple[str, ...]:
    if text == "all":
        return FIELDS
    chosen = tuple(word.strip() for word in text.split(","))
    unknown = [word for word in chosen if word not in FIELDS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is no field; allowed: {', '.join(FIELDS)}, all", param_hint="--fields")
    return chosen


def _member(found: Members, member: Member, host: Live, fields: Sequence[str], fdb: Sequence[str]) -> Iterator[str]:
    here = host.here(member)
    for field in fields:
        if field == "pod":
            yield f" pod: {member.pod.key} {member.pod.address(found.families[member.segment])}"
        elif field == "net":
            yield f" net: {options(member)}"
        elif field == "fdb":
            yield _block("fdb", fdb)
        elif field == "dev" and here:
            yield _block("dev", [line[3:] for line in host.tool(member, "ip", "-d", "addr", "show", "dev", member.name)])
        elif field == "route" and here:
            routes = [line for family in ("-4", "-6") for line in host.tool(member, "ip", family, "route", "show", "dev", member.name)]
            yield _block("route", routes)


def _fdb(found: Members, member: Member, host: Live) -> list[str]:
    wanted = should_be(found, member)
    if not host.here(member):
        return list(wanted)
    if not host.has_device(member):
        return [f"{WRONG} missing: the interface {member.name}"]
    seen = [line.rstrip() for line in host.tool(member, "bridge", "fdb", "show", "dev", member.name)]
    return [*seen, *differences(wanted, seen)]


def _block(name: str, lines: Sequence[str]) -> str:
    """A field of several lines: under the first one."""
    return f" {name}: " + f"\n{' ' * (len(name) + 3)}".join(lines)


def options(member: Member) -> str:
    """A member's options as the reference prints them: by name, in the order of their names."""
    said = {
        "dev": member.device,
        "id": str(member.vni),
        "ip": ",".join(member.ip),
        "mtu": str(member.mtu or ""),
        "name": member.name,
        "port": "" if member.port == REFERENCE_PORT else str(member.port),
        "route": ",".join(f"{to}:{via}" for to, via in member.routes),
        "type": "vxlan",
        "up": str(member.up).lower(),
    }
    return " ".join(f"{name}:{value}" for name, value in said.items() if value)
