"""What the Dockerfile takes: what is there, at the versions that are tested, and from no place of its own. Building it takes Docker or buildah."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from tests.charts.manifests import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
STAGES = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE))


def sent(path: str) -> bool:
    """Whether a path gets to whoever builds: the last pattern that matches it decides, as Docker has it."""
    taken = True
    for pattern in IGNORED:
        inverted, plain = pattern.startswith("!"), pattern.removeprefix("!").removeprefix("**/")
        if any(fnmatch(part, plain) for part in (path, Path(path).name, *map(str, Path(path).parents))):
            taken = inverted
    return taken


def test_the_image_has_the_versions_that_are_tested() -> None:
    shipped, tested = pins(ROOT / "deploy" / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[><=!~ \[]", one)[0].lower() for one in project["dependencies"]}
    assert named - set(shipped) == set(), "make requirements"
    development = {re.split(r"[><=!~ \[]", one)[0].lower() for one in project["optional-dependencies"]["dev"]}
    assert development & set(shipped) == set(), "tools of development have no business on a node"


def test_every_wheel_is_known_by_hash() -> None:
    text = (ROOT / "deploy" / "requirements.txt").read_text()
    for name in pins(ROOT / "deploy" / "requirements.txt"):
        assert re.search(rf"^{name}==\S+ \\\n    --hash=sha256:", text, re.MULTILINE), name
    assert DOCKERFILE.count("pip install") == DOCKERFILE.count("--require-hashes") + DOCKERFILE.count("--no-index")


def test_what_is_copied_is_there_and_sent() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    assert len(copied) > 8
    for path in copied:
        assert (ROOT / path).exists(), path
        assert sent(path), f"{path}: .dockerignore keeps it back"


def test_what_was_built_here_is_not_sent() -> None:
    """The image compiles its own; what a person has lying about would stand in its way."""
    assert not sent("reconciler/bpf/sock.o")
    assert not sent("reconciler/cni/plumbline")
    assert not sent(".git")
    assert not sent("tests/conftest.py")


def test_stages_are_of_one_plain_name() -> None:
    assert [base for base, _ in STAGES] == ["${BASE}"] * 3
    assert re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE) == ["debian:12-slim"]
    assert set(re.findall(r"--from=(\w+)", DOCKERFILE)) == {name for _, name in STAGES if name}
    assert "://" not in DOCKERFILE


def test_the_tools_that_the_engine_may_ask_for_are_in_it() -> None:
    (line,) = re.findall(r"for tool in ([\w -]+); do", DOCKERFILE)
    assert {"ip", "bridge", "nft", "sysctl", "bpftool", "tcpdump", "ping"} <= set(line.split())
