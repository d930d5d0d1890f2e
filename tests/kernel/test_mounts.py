"""A BPF file system that is ours alone, and one that the host has too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.kernel import mounts
from tests.namespaces import sh, why_not

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(why_not()), reason="mounts take root")]
CLONE_NEWNS, CLONE_FS = 0x20000, 0x200
_libc = ctypes.CDLL(None, use_errno=True)


def in_mounts_of_its_own(do: Callable[[], bool]) -> bool:
    """What a thread says that sees its own mounts; they go with it."""

    def apart() -> bool:
        assert _libc.unshare(CLONE_NEWNS | CLONE_FS) == 0, os.strerror(ctypes.get_errno())
        assert _libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_REC | MS_PRIVATE
        return do()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(apart).result()


@pytest.fixture(autouse=True)
def seen_by_the_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A container is a process; here a thread stands for it."""
    mounts._missing.cache_clear()
    monkeypatch.setattr(mounts, "OURS", "/proc/thread-self")
    if os.stat("/proc/self/ns/pid").st_ino != mounts._HOSTS_PIDS:
        pytest.skip("not among the host's processes: whose mounts process 1 has cannot be told")
    yield
    mounts._missing.cache_clear()


def mounted_here(folder: Path) -> bool:
    assert _libc.mount(b"bpf", os.fsencode(folder), b"bpf", 0, None) == 0
    return mounts.goes_with_us(str(folder))


def test_one_that_was_mounted_in_the_container_goes_with_it(tmp_path: Path) -> None:
    assert in_mounts_of_its_own(lambda: mounted_here(tmp_path))


def test_one_of_the_host_stays(tmp_path: Path) -> None:
    sh(f"mount -t bpf bpf {tmp_path}")
    try:
        assert not mounts.goes_with_us(str(tmp_path)), "no container at all"
        assert not in_mounts_of_its_own(lambda: mounts.goes_with_us(str(tmp_path)))
    finally:
        sh(f"umount {tmp_path}")


def test_what_cannot_be_told_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not mounts.goes_with_us(str(tmp_path / "nowhere"))
    monkeypatch.setattr(mounts, "INIT", "/proc/0")
    assert not in_mounts_of_its_own(lambda: mounted_here(tmp_path))
