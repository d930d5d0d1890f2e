"""What is kept on disk: written whole or not at all, trusted only when it is whole, and never worth a crash."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from reconciler.daemon.state import (
    CONFIRM,
    LAST_GOOD,
    BadState,
    Kept,
    StateBusy,
    StateFolder,
    Waiting,
    in_use,
    leave_confirmation,
    read_kept,
    read_waiting,
)

BODY = b'{"spec": "what was good"}'


def opened(path: Path) -> StateFolder:
    folder = StateFolder(path)
    folder.open()
    return folder


def test_what_is_kept_comes_back_after_a_restart(tmp_path: Path) -> None:
    first = opened(tmp_path / "deep/state")
    assert first.load() is None
    assert first.save(BODY, 12.5)
    first.close()
    again = opened(tmp_path / "deep/state")
    assert again.load() == Kept(12.5, BODY)
    assert again.problems == ()
    again.close()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = opened(tmp_path / "state")
    folder.save(BODY, 1)
    folder.wait([Waiting("d1", "plan", "too much")])
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.path.iterdir()} == {0o600}
    folder.close()


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.save(BODY, 1)
    inode = (tmp_path / LAST_GOOD).stat().st_ino
    assert folder.save(BODY, 2)
    again = StateFolder(tmp_path)
    again.load()
    assert again.save(BODY, 3)
    assert (tmp_path / LAST_GOOD).stat().st_ino == inode
    assert again.save(b"other", 4)
    assert (tmp_path / LAST_GOOD).stat().st_ino != inode
    folder.close()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda raw: raw[:-1], "does not have the digest"),
        (lambda raw: raw.replace(b"good", b"evil"), "does not have the digest"),
        (lambda raw: b"", "is damaged"),
        (lambda raw: os.urandom(300), "is damaged"),
        (lambda raw: b"[" * 4000 + raw, "is damaged"),
        (lambda raw: raw.replace(b'"version": 1', b'"version": 9'), "by another version of plumbline (format 9, this one reads 1)"),
    ],
    ids=["cut", "changed", "empty", "rubbish", "deep", "newer"],
)
def test_what_is_not_whole_is_named_and_replaced(tmp_path: Path, harm: object, why: str) -> None:
    folder = opened(tmp_path)
    folder.save(BODY, 1)
    folder.close()
    file = tmp_path / LAST_GOOD
    file.write_bytes(harm(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BadState):
        read_kept(file)
    again = opened(tmp_path)
    assert again.load() is None
    [problem] = again.problems
    assert str(file) in problem
    assert why.partition(" of ")[0] in problem
    assert again.save(BODY, 2)
    assert (again.problems, again.load()) == ((), Kept(2, BODY))
    again.close()


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_does_not_do_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    folder = opened(tmp_path)
    folder.save(BODY, 1)
    before = sorted(os.listdir(tmp_path))

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        if call == "write":
            broken.setattr(os, "fdopen", lambda handle, mode: (os.close(handle), full()))
        else:
            broken.setattr(os, call, full)
        assert not folder.save(b"newer", 2)
    [problem] = folder.problems
    assert f"{tmp_path / LAST_GOOD}: No space left on device" in problem
    assert sorted(os.listdir(tmp_path)) == before, "nothing half written is left"
    assert read_kept(tmp_path / LAST_GOOD) == Kept(1, BODY)
    assert folder.save(b"newer", 3), "tried again, it is kept"
    assert folder.problems == ()
    folder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = opened(tmp_path / "file/state")
    assert "Not a directory" in folder.problems[0]
    assert not folder.save(BODY, 1)
    assert folder.confirmed() == frozenset()
    folder.close()


def test_what_a_killed_one_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / ".new-abc").write_text("half")
    opened(tmp_path).close()
    assert not (tmp_path / ".new-abc").exists()


def test_one_folder_one_daemon(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    first = opened(tmp_path)
    assert in_use(tmp_path)
    with pytest.raises(StateBusy, match="--state"):
        opened(tmp_path)
    assert in_use(tmp_path), "asking takes nothing away"
    first.close()
    assert not in_use(tmp_path)
    opened(tmp_path).close()


def test_a_confirmation_is_heard_and_used_up(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.wait([Waiting("d1", "plan", "too much")])
    assert read_waiting(tmp_path) == (Waiting("d1", "plan", "too much"),)
    leave_confirmation(tmp_path, "d1")
    assert folder.confirmed() == {"d1"}
    folder.use_up(["d1", "never there"])
    folder.wait([])
    assert (folder.confirmed(), read_waiting(tmp_path)) == (frozenset(), ())
    assert not (tmp_path / f"{CONFIRM}d1").exists()
    folder.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"waiting": [{}]}', '{"waiting": 3}'])
def test_a_damaged_list_of_what_waits_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "pending.json").write_text(text)
    with pytest.raises(BadState, match=r"pending\.json: is damaged"):
        read_waiting(tmp_path)
