"""What can happen to the ConfigMap that network.yaml is in, where the daemon watches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.certificates import Certificates
from tests.api.store import MOST_BYTES, Refused
from tests.daemon.process import held
from tests.faults.clustered import NETWORK, Cluster
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
CONFIGMAPS = "/api/v1/namespaces/plumbline-system/configmaps"


@pytest.fixture
def cluster(netns: str, tmp_path: Path, certificates: Certificates) -> Iterator[Cluster]:
    made = Cluster(tmp_path, certificates)
    yield made
    made.close()


def put(cluster: Cluster, **files: str) -> None:
    data = {name.replace("_", "."): text for name, text in files.items()}
    cluster.api.put(CONFIGMAPS, {"metadata": {"name": "network"}, "data": data})


def large(label: int) -> str:
    """As much as a ConfigMap takes, and all of it means something."""
    line = "      example.com/label-{:06}: a-value-of-some-length-{:06}\n"
    head, tail = f"{NETWORK}nodes:\n  n1:\n    labels:\n", f"      last: l{label}\n"
    room = MOST_BYTES - len(head) - len(tail) - 40_000  # what JSON adds to each line
    return head + "".join(line.format(number, number) for number in range(room // len(line.format(0, 0)))) + tail


def test_one_as_large_as_it_can_be_is_read_and_a_larger_one_never_comes_to_be(cluster: Cluster) -> None:
    put(cluster, network_yaml=NETWORK)
    with cluster.daemon(configmap="plumbline-system/network") as one:
        one.until(lambda: one.ready)
        good, before = held(), one.daemon.status.digest
        put(cluster, network_yaml=large(1))
        one.until(lambda: one.daemon.status.digest != before and one.ready, 30)
        assert held() == good
        with pytest.raises(Refused, match="Too long"):
            put(cluster, network_yaml=large(1) + "#" * 80_000)
        cluster.api.drop()
        sh("ip route del 10.244.3.0/24")
        one.until(lambda: held() == good)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "there is none"),
        ({}, "no key that ends in .yaml"),
        ({"network_yaml": ""}, "network.yaml"),
        ({"network_yaml": NETWORK[:-9]}, "network.yaml"),
        ({"nodes_yaml": "nodes: {n1: {mtu: 1400}}\n"}, "nodes.yaml"),
    ],
    ids=["deleted", "emptied", "an empty file", "cut off", "one of two files"],
)
def test_what_is_left_of_one_is_named_and_the_last_good_one_stays(cluster: Cluster, files: dict[str, str] | None, says: str) -> None:
    put(cluster, network_yaml=NETWORK)
    with cluster.daemon(configmap="plumbline-system/network") as one:
        one.until(lambda: one.ready)
        good = held()
        if files is None:
            cluster.api.delete(f"{CONFIGMAPS}/network")
        else:
            put(cluster, **files)
        one.until(lambda: not one.ready)
        assert says in one.daemon.status.not_ready
        sh("ip route del 10.244.3.0/24; ip link del plumb0")
        one.until(lambda: held() == good)
        put(cluster, network_yaml=NETWORK + "# whole again\n")
        one.until(lambda: one.ready)
        assert held() == good
