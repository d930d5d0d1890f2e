"""The daemon itself, in a namespace of its own, with the token and the rights that the manifests give, beside an API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.process import held
from tests.faults.clustered import NETWORK, NODES, peer, routed
from tests.kube.site import Site
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
SOON = 90.0  # seconds: after a failure it is asked again within a minute


@pytest.fixture
def site(cluster: Any, outside: ThreadPoolExecutor, netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("POD_NAMESPACE", "plumbline-system")
    made = Site(cluster, outside, tmp_path)
    (tmp_path / "network.yaml").write_text(NETWORK)
    for number in (1, 2, 3):
        made.put(peer(number))
    yield made
    made.close()


def routes(*numbers: int) -> Callable[[], bool]:
    return lambda: routed() == [f"10.244.{number}.0/24" for number in numbers]


def test_the_daemon_and_an_api_that_goes_and_comes(site: Site) -> None:
    token = site.there(lambda: site.cluster.daemon("n1"))
    daemon = site.start(token)
    daemon.until(daemon.ready, 30)
    assert routes(2, 3)()
    daemon.until(lambda: site.word["conditions"].get("Ready") == "True", 30)
    assert site.word["digest"] == hashlib.sha256(NETWORK.encode()).hexdigest()
    site.put(peer(4))
    daemon.until(routes(2, 3, 4))
    site.put(peer(4, beat=7))
    good = held()

    site.there(site.cluster.stop)
    daemon.until(lambda: any(one["trouble"] for one in daemon.status["watches"]), 30)
    sh("ip route del 10.244.3.0/24")
    daemon.until(lambda: held() == good)
    assert daemon.ready(), "as far as anybody knows"
    daemon.end()
    sh("ip link del plumb0")
    daemon = site.start(token)
    daemon.until(lambda: held() == good)
    daemon.until(lambda: "has not answered yet" in daemon.get("/readyz")[1])
    assert daemon.status["spec"]["source"] == "disk"

    site.there(site.cluster.start)
    daemon.until(daemon.ready, SOON)
    assert held() == good
    site.there(lambda: site.cluster.delete(f"{NODES}/n3"))
    daemon.until(routes(2, 4), SOON)
    daemon.until(lambda: site.word.get("source") == "live" and site.word["conditions"]["Ready"] == "True", SOON)
    assert not [line for line in daemon.logged("the API does not answer") if "403" in line["why"]], "the manifests give the rights"
