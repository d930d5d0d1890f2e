"""Whether programs are told source addresses: asked of this kernel by a program of our own."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest

from reconciler.cli.checks.tools import version_in
from reconciler.engine.reader import ObservationFailed
from reconciler.facts.model import Host
from reconciler.kernel import fib, services
from reconciler.kernel.node import KernelNode
from reconciler.spec.load import load_text
from tests.namespaces import why_not

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(why_not()), reason="bpf(2) takes root")]
SPEC = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nservices: {{nodePort: {}}}\n"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    fib.tells_sources.cache_clear()
    yield
    fib.tells_sources.cache_clear()


def told(node_port: str) -> Host:
    io = KernelNode()
    try:
        return services.with_services(Host("eth0", 1500), io, load_text(SPEC.format(node_port)).spec.services)
    finally:
        io.close()


def test_this_kernel_answers_as_its_version_says() -> None:
    version = version_in(platform.release())
    assert version is not None
    if version >= (6, 7, 0):
        assert fib.tells_sources()
    else:
        assert fib.tells_sources() in (False, True), "a backport may have it"


def test_a_flag_that_a_kernel_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fib, "_SOURCE", 1 << 30)
    assert not fib.tells_sources()
    assert not told("{devices: [eth0]}").tells_sources
    assert told("none").tells_sources, "nothing comes from outside, so nobody asks for a source"


def test_one_that_cannot_be_asked_is_not_said_to_lack_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fib, "call", refused)
    with pytest.raises(ObservationFailed, match="CAP_BPF and CAP_NET_ADMIN are needed"):
        fib.tells_sources()
    assert told("{devices: [eth0]}").tells_sources
