"""NetworkManager: takes links unless it is told not to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from reconciler.kernel.opponents.model import Opponent
from reconciler.kernel.opponents.processes import running
from reconciler.kernel.opponents.settings import Setting, by_name, settings

SHADOWING = ("/etc/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d")
MAIN = "/etc/NetworkManager/NetworkManager.conf"
DROP_IN = "/etc/NetworkManager/conf.d/plumbline.conf"


def network_manager(root: str, devices: Sequence[tuple[str, str]]) -> Iterator[Opponent]:
    """`devices`: name and type of the links that we make. Raises OSError."""
    runs = running(root, "NetworkManager", "/run/NetworkManager")
    if not runs.yes:
        return
    said = list(settings(root, _files(root)))
    unmanaged = _unmanaged(said)
    taken = [name for name, type_ in devices if not _listed(unmanaged, name, type_) and not _section_says_no(said, name, type_)]
    if not taken:
        return
    keys = [one.place for one in said if one.section == "keyfile" and one.key.startswith("unmanaged-devices")]
    listed = ";".join(f"interface-name:{name}" for name in taken)
    yield Opponent(
        "NetworkManager",
        f"may take {', '.join(taken)}: it brings links down and removes addresses that its profiles do not name",
        "; ".join([runs.evidence, *(keys or ["no file says unmanaged-devices"])]),
        f"printf '[keyfile]\\nunmanaged-devices+={listed}\\n' > {DROP_IN} && nmcli general reload conf",
    )


def _files(root: str) -> list[str]:
    """In the order in which they are read (NetworkManager.conf(5)): a later line overrides an earlier one."""
    files = by_name(root, SHADOWING, ".conf")
    own = [one for one in files if one.startswith("/etc/")]
    others = [one for folder in reversed(SHADOWING[1:]) for one in files if one.startswith(f"{folder}/")]
    return [*others, MAIN, *own]


def _unmanaged(said: Sequence[Setting]) -> list[str]:
    """[keyfile] unmanaged-devices after all `=`, `+=` and `-=`."""
    found: list[str] = []
    for one in said:
        specs = _specs(one.value)
        if one.section != "keyfile":
            continue
        if one.key == "unmanaged-devices":
            found = specs
        elif one.key == "unmanaged-devices+":
            found = [*found, *specs]
        elif one.key == "unmanaged-devices-":
            found = [spec for spec in found if spec not in specs]
    return found


def _section_says_no(said: Sequence[Setting], name: str, type_: str) -> bool:
    """`[device…] match-device=… managed=0`, the first such section that matches."""
    for section in dict.fromkeys(one.section for one in said if one.section.startswith("device")):
        lines = {one.key: one for one in said if one.section == section}
        match, managed = lines.get("match-device"), lines.get("managed")
        if managed is not None and (match is None or _listed(_specs(match.value), name, type_)):
            return managed.boolean is False
    return False


def _specs(text: str) -> list[str]:
    return [word.strip() for word in text.replace(",", ";").split(";") if word.strip()]


def _listed(specs: Sequence[str], name: str, type_: str) -> bool:
    """NetworkManager.conf(5), "Device List Format": `except:` wins; where only exceptions are listed, all others are meant."""
    exceptions = [spec.removeprefix("except:") for spec in specs if spec.startswith("except:")]
    meant = [spec for spec in specs if not spec.startswith("except:")]
    if any(_means(spec, name, type_) for spec in exceptions):
        return False
    return any(_means(spec, name, type_) for spec in meant) if meant else bool(exceptions)


def _means(spec: str, name: str, type_: str) -> bool:
    tag, colon, value = spec.partition(":")
    if not colon:
        return spec in ("*", name)
    if tag == "interface-name":
        return name == value[1:] if value.startswith("=") else fnmatchcase(name, value.removeprefix("~"))
    if tag in ("type", "driver"):
        return value == type_
    return False
