"""systemd-networkd: removes foreign routes, rules and nexthops when it starts, and takes links that a .network file matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from reconciler.kernel.opponents.model import Opponent
from reconciler.kernel.opponents.processes import running
from reconciler.kernel.opponents.settings import Setting, by_name, first_of, settings

# systemd.unit(5), "Unit File Load Path" without units: of two files with one name the first folder's counts.
FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
MANAGED = {  # networkd.conf(5); all of them are on unless said otherwise
    "ManageForeignRoutes": "routes",
    "ManageForeignRoutingPolicyRules": "rules",
    "ManageForeignNextHops": "nexthops",
}
SINCE = {"ManageForeignNextHops": 256}  # older ones do not know the setting, and leave nexthops alone
DROP_IN = "/etc/systemd/networkd.conf.d/plumbline.conf"
# What a [Match] section may say of the host and not of the link; others than these and Name or Kind do not match a link of ours.
OF_THE_HOST = {"Host", "Virtualization", "KernelCommandLine", "KernelVersion", "Architecture", "Firmware", "Credential"}


def networkd(root: str, devices: Sequence[tuple[str, str]]) -> Iterator[Opponent]:
    """`devices`: name and type of the links that we make. Raises OSError."""
    runs = running(root, "systemd-network", "/run/systemd/netif/state")
    if not runs.yes:
        return
    yield from _foreign(root, runs.evidence)
    for name, type_ in devices:
        yield from _takes(root, name, type_)


def _foreign(root: str, evidence: str) -> Iterator[Opponent]:
    files = first_of(root, (f"{folder}/networkd.conf" for folder in FOLDERS))
    files += by_name(root, [f"{folder}/networkd.conf.d" for folder in FOLDERS], ".conf")
    said: dict[str, Setting] = {}
    for one in settings(root, files):
        if one.section == "Network" and one.key in MANAGED and one.boolean is not None:
            said[one.key] = one
    version = _version(root)
    theirs = [
        key for key in MANAGED
        if (key not in said or said[key].boolean) and (version is None or version >= SINCE.get(key, 0))
    ]  # fmt: skip
    if not theirs:
        return
    lines = [said[key].place if key in said else f"no file says {key}=no" for key in theirs]
    wanted = "\\n".join(["[Network]", *(f"{key}=no" for key in theirs)])
    things = [MANAGED[key] for key in theirs]
    yield Opponent(
        "systemd-networkd",
        f"removes foreign {' and '.join(filter(None, (', '.join(things[:-1]), things[-1])))} whenever it starts or reloads",
        "; ".join([evidence, *lines]),
        f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '{wanted}\\n' > {DROP_IN} && systemctl restart systemd-networkd",
    )


def _version(root: str) -> int | None:
    """Its version by the library that it comes with; None where that is not seen."""
    for folder in ("/usr/lib", "/lib"):
        for pattern in ("systemd/libsystemd-shared-*.so", "*/systemd/libsystemd-shared-*.so"):
            for one in Path(root + folder).glob(pattern):
                digits = one.name.removeprefix("libsystemd-shared-")[:3]
                if digits.isdigit():
                    return int(digits)
    return None


def _takes(root: str, name: str, type_: str) -> Iterator[Opponent]:
    """The first .network file that matches a link is the one that it gets (systemd.network(5))."""
    for file in by_name(root, [f"{folder}/network" for folder in FOLDERS], ".network"):
        said = list(settings(root, [file]))
        match = [one for one in said if one.section == "Match" and one.value]
        if not match or not all(_matches(one, name, type_) for one in match):
            continue
        if not any(one.section == "Link" and one.key == "Unmanaged" and one.boolean for one in said):
            yield Opponent(
                "systemd-networkd",
                f"configures {name} as its own: it removes our addresses there and may bring it down",
                next((one.place for one in match if one.key == "Name"), match[0].place),
                _unmanaged(name),
            )
        return


def keeps(root: str, name: str, mac: str, ifindex: int) -> Iterator[Opponent]:
    """Whether a NIC's addresses are its to keep: by what it says of the link at run time, else by its files. Raises OSError.

    A [Match] line about hardware that we do not know (Driver, Path) counts as matching.
    """
    runs = running(root, "systemd-network", "/run/systemd/netif/state")
    if not runs.yes:
        return
    state = next((one for one in settings(root, [f"/run/systemd/netif/links/{ifindex}"]) if one.key == "ADMIN_STATE"), None)
    shown = state if state is None or state.value != "unmanaged" else None
    if state is None:
        shown = _first_match(root, name, mac)
    if shown is not None:
        yield Opponent("systemd-networkd", f"keeps the addresses and routes of {name}", f"{runs.evidence}; {shown.place}", _unmanaged(name))


def _first_match(root: str, name: str, mac: str) -> Setting | None:
    """The line by which the first .network file that is for a NIC takes it; None where that file leaves it alone."""
    for file in by_name(root, [f"{folder}/network" for folder in FOLDERS], ".network"):
        lines = list(settings(root, [file]))
        match = [one for one in lines if one.section == "Match" and one.value]
        if match and all(_is_nic(one, name, mac) for one in match):
            alone = any(one.section == "Link" and one.key == "Unmanaged" and one.boolean for one in lines)
            return None if alone else match[0]
    return None


def _is_nic(one: Setting, name: str, mac: str) -> bool:
    if one.key in ("MACAddress", "PermanentMACAddress"):
        return mac in one.value.lower().replace("-", ":").split()
    return _matches(one, name, "") if one.key in ("Name", "Kind") else True


def _unmanaged(name: str) -> str:
    return (
        f"printf '[Match]\\nName={name}\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/00-plumbline-{name}.network"
        " && networkctl reload"
    )


def _matches(one: Setting, name: str, type_: str) -> bool:
    negated, words = one.value.startswith("!"), one.value.removeprefix("!").split()
    if one.key in ("Name", "Kind"):
        value = name if one.key == "Name" else type_
        return any(fnmatchcase(value, word) for word in words) is not negated
    return one.key in OF_THE_HOST
