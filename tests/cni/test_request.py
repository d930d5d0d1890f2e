"""What the runtime says, read: anything at all gives a request or a CNI error, and nothing of it gets further than it may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.daemon.cni.request import CniError, Request, printed, read_request

FIELDS = ("container", "ifname", "netns", "pod", "result", "addresses", "attachments")
INTERFACES = [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}]


def request(config: dict[str, Any] | None = None, **variables: str) -> Request:
    environment = "".join(f"CNI_{name.upper()}={value}\0" for name, value in variables.items())
    return read_request(environment.encode(), json.dumps(config or {}).encode())


def result(*ips: Any, interfaces: Any = INTERFACES) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "prevResult": {"cniVersion": "1.0.0", "interfaces": interfaces, "ips": list(ips)}}


def code(config: dict[str, Any], field: str, **variables: str) -> int:
    with pytest.raises(CniError) as error:
        getattr(request(config, **variables), field)
    return error.value.code


def test_the_addresses_are_those_of_the_pod_s_end() -> None:
    four, six = {"address": "10.244.1.5/24", "interface": 2, "gateway": "10.244.1.1"}, {"address": "FD00::5/64", "interface": 2}
    assert request(result(four, six)).addresses == ("10.244.1.5", "fd00::5")
    assert request(result({"address": "10.244.1.1/24", "interface": 1}, four)).addresses == ("10.244.1.5",), (
        "the host's end is not the pod's"
    )
    assert request(result({"version": "4", "address": "10.244.1.5/24"})).addresses == ("10.244.1.5",), "0.4.0 without an interface"
    assert request(result(four, {"address": "10.244.1.6/24", "interface": 2})).addresses == ("10.244.1.5",)
    assert request(result()).addresses == ()


@pytest.mark.parametrize(
    "ips",
    [
        [{"address": "10.0.0.1; reboot"}],
        [{"address": "-n"}],
        [{"address": "224.0.0.1/4"}],
        [{"address": "127.0.0.1/8"}],
        [{"address": None}],
        [{}],
        ["10.0.0.1"],
        {"address": "10.0.0.1"},
        7,
    ],
)
def test_what_is_no_address_is_none(ips: Any) -> None:
    said = result()
    said["prevResult"]["ips"] = ips
    assert code(said, "addresses") == 7


def test_the_pod_is_the_one_that_kubernetes_names() -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=media;K8S_POD_NAME=a.b-0;K8S_POD_INFRA_CONTAINER_ID=5f;K8S_POD_UID=1-2"
    assert request(args=args).pod == ("media/a.b-0", "1-2")
    assert request(args="K8S_POD_NAMESPACE=media;K8S_POD_NAME=a").pod == ("media/a", "")
    assert request(args="IgnoreUnknown=1").pod is None
    assert request().pod is None


@pytest.mark.parametrize("name", ["../../etc", "a/b", "a b", "-n", "a\n", "", "x" * 254, "ä", "a=b/c"])
def test_a_name_that_could_be_something_else_is_refused(name: str) -> None:
    assert code({}, "pod", args=f"K8S_POD_NAMESPACE=media;K8S_POD_NAME={name}") == 4
    assert code({}, "pod", args=f"K8S_POD_NAME=a;K8S_POD_NAMESPACE={name}") == 4


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a:b", "x" * 16, "a\tb"])
def test_interfaces_and_containers_by_cni_s_own_rules(name: str) -> None:
    assert code({}, "ifname", ifname=name) == 4
    if len(name) < 16:
        assert code({}, "container", containerid=name) == 4


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "/proc/self/ns/net",
        "/proc/thread-self/ns/net",
        "relative",
        "/run/netns/../../etc/passwd",
        "/run/netns/a b",
        "x" * 5000,
    ],
)
def test_what_is_no_namespace_of_a_pod_is_refused_above_all_the_node_s_own(path: str) -> None:
    assert code({}, "netns", netns=path) == 4


def test_the_list_of_gc() -> None:
    valid = "cni.dev/valid-attachments"
    assert request({valid: [{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "net1", "more": 1}]}).attachments == {
        ("a", "eth0"),
        ("b", "net1"),
    }
    assert request({}).attachments is None
    assert request({valid: []}).attachments is None
    for damaged in (
        {},
        "a",
        1,
        [None],
        [{}],
        [{"containerID": "a"}],
        [{"containerID": "", "ifname": "eth0"}],
        [{"containerID": 1, "ifname": "eth0"}],
    ):
        assert code({valid: damaged}, "attachments") == 7, damaged


def test_a_result_comes_back_as_it_was() -> None:
    said = result({"address": "10.244.1.5/24", "interface": 2}) | {"dns": {}}
    said["prevResult"] |= {"unknown": [1.5, "é\u2028", None, True, {"deep": []}], "dns": {"nameservers": ["10.0.0.1"]}}
    assert json.loads(printed(request(said).result)) == said["prevResult"]
    assert list(json.loads(printed(request(said).result))) == list(said["prevResult"]), "in its order"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 500_000,
        b'{"a":' * 300_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'{"a": "\x00"}',
    ],
    ids=lambda body: repr(body[:10]),
)
def test_what_is_no_configuration_is_told_as_a_cni_error(body: bytes) -> None:
    with pytest.raises(CniError) as error:
        read_request(b"CNI_COMMAND=ADD\0", body)
    told = json.loads(error.value.told("1.0.0"))
    assert told["code"] == 6
    assert told["cniVersion"] == "1.0.0"


def test_a_number_that_json_cannot_write_again_is_refused() -> None:
    with pytest.raises(CniError):
        printed(read_request(b"", b'{"prevResult": {"a": 1e999}}').result)


@pytest.mark.parametrize("version", ["1.1.0", "0.4.0"])
def test_errors_speak_the_version_of_the_configuration(version: str) -> None:
    assert request({"cniVersion": version}).version == version
    assert request({"cniVersion": 'x"'}).version == "1.0.0"
    assert request({"cniVersion": ["1.1.0"]}).version == "1.0.0"


_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["ips", "interfaces", "address", "interface", "sandbox", "prevResult", "cniVersion", "cni.dev/valid-attachments", "containerID", "ifname"]), inner))  # fmt: skip


@given(environment=st.binary() | st.text().map(lambda text: f"CNI_COMMAND=ADD\0CNI_ARGS={text}\0CNI_NETNS={text}\0".encode()), config=st.dictionaries(st.sampled_from(["prevResult", "cniVersion", "cni.dev/valid-attachments"]), _json))  # fmt: skip
def test_anything_is_a_request_or_a_cni_error(environment: bytes, config: dict[str, Any]) -> None:
    try:
        made = read_request(environment, json.dumps(config).encode())
    except CniError as error:
        json.loads(error.told("1.0.0"))
        return
    for field in (*FIELDS, "version"):
        try:
            getattr(made, field)
        except CniError as error:
            said = json.loads(error.told(made.version))
            assert said["code"] in (4, 6, 7)
