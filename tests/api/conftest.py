"""A small API per test, with TLS, and a way to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cluster.access import Access
from reconciler.cluster.transport import Api
from tests.api.certificates import Certificates, make, why_not
from tests.api.server import SmallApi


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if reason := why_not():
        pytest.skip(reason)
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: Certificates) -> Iterator[SmallApi]:
    server = SmallApi(certificates)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def access(server: SmallApi, certificates: Certificates, tmp_path: Path) -> Access:
    """As a pod has it: a file with the token, a file with the authority."""
    (tmp_path / "token").write_text("admin")
    return Access((server.url,), certificates.authority, tmp_path / "token", namespace="plumbline-system")


@pytest.fixture
def api(access: Access) -> Iterator[Api]:
    api = Api(access)
    yield api
    api.close()
