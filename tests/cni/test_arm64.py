"""The plugin as an arm64 node has it: the same tests, of a program made by a cross compiler and run by QEMU's user emulation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cni.runtime import build
from tests.cni.test_plugin import (  # noqa: F401 — collected here once more, with the `plugin` of this module
    ask,
    test_a_daemon_that_comes_meanwhile_is_in_time,
    test_a_daemon_that_hangs_does_not_hang_the_runtime,
    test_a_failure_is_told_by_the_daemon,
    test_an_unknown_command_is_an_error,
    test_nonsense_is_no_answer,
    test_what_is_said_goes_to_the_daemon_as_it_is_and_comes_back_as_it_is,
    test_what_is_too_long_is_refused_before_anybody_is_asked,
    test_without_a_daemon_only_version_and_del_are_answered,
)

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
MACHINE = slice(18, 20)  # e_machine, elf(5)
EM_AARCH64 = 183


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if missing := [tool for tool in (COMPILER, EMULATOR) if not shutil.which(tool)]:
        pytest.skip(f"no {' and no '.join(missing)} here (gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user)")
    return build(tmp_path_factory.mktemp("arm64"), compiler=COMPILER)


@pytest.fixture(scope="module")
def plugin(made: Path) -> Path:
    """What a runtime of another machine can call."""
    emulated = made.with_name("emulated")
    emulated.write_text(f'#!/bin/sh\nexec {EMULATOR} {made} "$@"\n')
    emulated.chmod(0o755)
    return emulated


def test_it_is_that_machines(made: Path) -> None:
    assert int.from_bytes(made.read_bytes()[MACHINE], "little") == EM_AARCH64
