"""Files: put in place by one rename, known by their name, and nobody else's touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Absent, Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds.file import CNI, KIND, File, file
from reconciler.kinds.file.row import own_name
from tests.namespaces import sh

NAME = "/etc/cni/net.d/10-plumbline.conflist"


@pytest.fixture
def engine() -> Iterator[Round]:
    node = KernelNode()
    yield Round(node, Kinds([KIND]))
    node.close()


def scope(root: Path, *rows: File) -> Scope:
    return Scope(("",), Wanted({"file": {row.key: row for row in rows}}), str(root))


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, str(path.readlink()).encode() if path.is_symlink() else path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_made_changed_and_removed(engine: Round, tmp_path: Path) -> None:
    target = tmp_path / NAME[1:]
    first, second = file(NAME, "{}\n", root=str(tmp_path)), file(NAME, "[]\n", root=str(tmp_path), mode=0o600)
    assert engine.converge(scope(tmp_path, first)).converged
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("{}\n", 0o644)
    assert engine.plan(scope(tmp_path, second))[0].actions[0].change.reason == "differs in content, mode"
    assert engine.converge(scope(tmp_path, second)).converged
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("[]\n", 0o600)
    target.chmod(0o644)
    target.write_text("somebody's")
    assert engine.converge(scope(tmp_path, second)).converged
    assert engine.converge(scope(tmp_path)).converged
    assert snapshot(tmp_path) == {}


def test_the_same_lines_by_hand(engine: Round, tmp_path: Path) -> None:
    plan, _ = engine.plan(scope(tmp_path, file(NAME, "{}\n", root=str(tmp_path))))
    (tmp_path / NAME[1:]).parent.mkdir(parents=True)
    for staged in plan.actions[0].files:
        Path(staged.path).write_bytes(staged.content)
    sh("\n".join(str(line) for action in plan.actions for line in action.lines))
    assert engine.plan(scope(tmp_path, file(NAME, "{}\n", root=str(tmp_path))))[0].empty


def test_renamed_and_left_behind(engine: Round, tmp_path: Path) -> None:
    assert engine.converge(scope(tmp_path, file(NAME, "{}", root=str(tmp_path)))).converged
    (tmp_path / "etc/cni/net.d/.10-plumbline.conflist.plumbline-0123abcd").write_text("a crash before the rename")
    other = file("/etc/cni/net.d/05-plumbline.conflist", "{}", root=str(tmp_path))
    assert engine.converge(scope(tmp_path, other)).converged
    assert list(snapshot(tmp_path)) == ["etc/cni/net.d/05-plumbline.conflist"]


@pytest.mark.parametrize("folder", CNI)
def test_what_is_left_is_found_wherever_runtimes_read(engine: Round, tmp_path: Path, folder: str) -> None:
    """After `cni` has gone from network.yaml, and by `cleanup`, which reads none."""
    assert engine.converge(scope(tmp_path, file(f"{folder}/10-plumbline.conflist", "{}", root=str(tmp_path)))).converged
    assert engine.converge(scope(tmp_path)).converged
    assert snapshot(tmp_path) == {}


def test_what_must_not_be_there_yet_goes_whatever_it_holds(engine: Round, tmp_path: Path) -> None:
    """The file of the boot before, in a folder that nobody else knows."""
    before = file("/srv/cni/net.d/10-plumbline.conflist", "of the boot before", root=str(tmp_path))
    assert engine.converge(scope(tmp_path, before)).converged
    gone = Absent(before._replace(content=b"of this one"), "it waits")
    assert engine.converge(Scope(("",), Wanted(absent={"file": {before.key: (gone,)}}), str(tmp_path))).converged
    assert snapshot(tmp_path) == {}


def test_other_peoples_files_stay(engine: Round, tmp_path: Path) -> None:
    folder = tmp_path / "etc/cni/net.d"
    folder.mkdir(parents=True)
    for name in ("10-flannel.conflist", "10-plumbline.conflist.bak", "10-plumbline.conflist~", "my-plumbline.conf", "README"):
        (folder / name).write_text(name)
    (tmp_path / "secret").write_text("elsewhere")
    (folder / "20-plumbline.conflist").symlink_to(tmp_path / "secret")
    (folder / "30-plumbline.conflist").mkdir()
    before = snapshot(tmp_path)
    mine = file(NAME, "{}", root=str(tmp_path))
    assert engine.converge(scope(tmp_path, mine)).converged
    for name in ("20-plumbline.conflist", "30-plumbline.conflist"):
        refused = engine.converge(scope(tmp_path, mine, file(f"/etc/cni/net.d/{name}", "x", root=str(tmp_path))))
        assert "exists and is not ours" in refused.errors[0]
    assert engine.converge(scope(tmp_path)).converged
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "path",
    [
        "relative/cni/net.d/plumbline.conf",
        "/etc/cni/net.d/../plumbline/plumbline.conf",
        "/etc/cni/net.d/flannel.conf",
        "/etc/cron.d/plumbline",
        "/etc//cni/net.d/plumbline.conf",
    ],
)
def test_nothing_is_written_elsewhere(engine: Round, tmp_path: Path, path: str) -> None:
    plan, _ = engine.plan(scope(tmp_path, file(path, "x")))
    assert plan.actions[0].held.startswith(path)
    assert not plan.runnable


def test_a_waiting_file_comes_last(engine: Round, tmp_path: Path) -> None:
    held, plain = file(NAME, "{}", root=str(tmp_path), waits=True), file("/etc/plumbline/plumbline.json", "{}", root=str(tmp_path))
    plan, _ = engine.plan(scope(tmp_path, held, plain))
    assert [action.ref.key[0] for action in plan.runnable] == [plain.key.path]
    assert engine.converge(scope(tmp_path, held, plain)).converged


def test_content_counts_in_the_digest_and_a_secret_is_not_described(engine: Round, tmp_path: Path) -> None:
    digests = {engine.plan(scope(tmp_path, file(NAME, content, root=str(tmp_path))))[0].digest for content in ("a", "b")}
    assert len(digests) == 2
    assert KIND.describe(file(NAME, "password", secret=True)) == "content not shown"


def test_own_names() -> None:
    assert all(map(own_name, ("plumbline", "10-plumbline.conflist", "plumbline-extra.conf", ".plumbline-ab12_x9z")))
    foreign = ("plumbline.bak", "10-plumbline.conflist~", "notplumbline.conf", "10-flannel.conflist", "plumbliner.conf")
    assert not any(map(own_name, foreign))
