"""network.yaml and manifests, changed: a spec, or mistakes that are told; bounded in time and memory whatever is in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.inputs import offline_plan, read_inputs
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.model import Plan
from reconciler.engine.render import Renderer
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.facts.merge import nodes_of
from reconciler.facts.pods import pods_of
from reconciler.kinds import all_kinds
from reconciler.spec.load import load_text
from reconciler.spec.problems import SpecError
from tests.effort import examples

ROOT = Path(__file__).parents[2]
TEXTS = [path.read_bytes() for path in sorted(ROOT.glob("examples/*/network.yaml"))]
DOCUMENTS = [yaml.safe_load(text) for text in TEXTS]
RENDERER = Renderer(all_kinds(), unknown_allowed=True)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -1, 0, 2**31, 2**64, 65536])
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["10.0.0.1/24", "default", "::/0", "10.244.0.0/16", "fd00::/8", "eth0", "n1", "auto", "", "*", "1e999", "0x1", "on", "-x", "a\nb"])
    | st.dates()
    | st.binary(max_size=4)
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, inner ones too."""
    found = [path]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in parts:
        found += places(one, (*path, name))
    return found


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Something else at one to three places: another type, a key more, a key less, what stands elsewhere."""
    whole = [json.loads(json.dumps(document))]
    for _ in range(draw(st.integers(1, 3))):
        path = (0, *draw(st.sampled_from(places(whole[0]))))
        holder: Any = whole
        for part in path[:-1]:
            holder = holder[part]
        how = draw(st.sampled_from(["put", "put", "drop", "add", "move"]))
        if how == "put":
            holder[path[-1]] = draw(anything)
        elif how == "drop" and isinstance(holder, dict):
            del holder[path[-1]]
        elif how == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["resources", "segments", "sysctls", "nodeSelector", "address", "link", "x", "", "<<"]))] = draw(
                anything
            )
        else:
            other = whole[0]
            for part in draw(st.sampled_from(places(whole[0]))):
                other = other[part]
            holder[path[-1]] = json.loads(json.dumps(other, default=str))
    return whole[0]


def go(folder: Path, spec: bytes, facts: bytes | None = None, suffix: str = ".yaml") -> list[Plan]:
    """As `plumbline plan --all` goes: plans, or mistakes."""
    path = folder / "network.yaml"
    path.write_bytes(spec)
    manifests = []
    if facts is not None:
        manifests = [folder / f"facts{suffix}"]
        manifests[0].write_bytes(facts)
    try:
        inputs = read_inputs(path, manifests)
        return [offline_plan(inputs, node, RENDERER) for node in list(inputs.facts.nodes)[:2]]
    except CannotGoOn as error:
        assert str(error.args)
        return []


@pytest.mark.parametrize("index", range(len(DOCUMENTS)))
@examples(25)
@given(data=st.data())
def test_no_change_of_an_example_leads_to_a_traceback(index: int, data: st.DataObject, tmp_path_factory: Any) -> None:
    document = data.draw(changed(DOCUMENTS[index]))
    go(tmp_path_factory.mktemp("fuzz"), yaml.dump(document, Dumper=yaml.Dumper).encode("utf-8", "surrogatepass"))


@examples(150)
@given(data=st.data())
def test_no_bytes_of_an_example_do(data: st.DataObject) -> None:
    text = bytearray(data.draw(st.sampled_from(TEXTS)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text)))
        odd = [
            b"\0",
            b"\xff\xfe",
            b"\t",
            b"- ",
            b"&a ",
            b"*a ",
            b"!!python/object:os.system ",
            b"---\n",
            b"{",
            b"[",
            b"'",
            b"? ",
            b"%YAML 9.9\n",
            b"\xef\xbb\xbf",
            b"\xed\xa0\x80",
            b": ",
            b"|\n",
            b"<<: ",
        ]
        text[at : at + data.draw(st.integers(0, 20))] = data.draw(st.sampled_from(odd) | st.binary(max_size=6))
    try:
        load_text(bytes(text))
    except SpecError as error:
        assert error.problems
        assert all(problem.place.file == "network.yaml" for problem in error.problems)


NODE: dict[str, Any] = {
    "apiVersion": "v1", "kind": "Node",
    "metadata": {"name": "n2", "labels": {"k": "v"}, "annotations": {"plumbline.dev/address": "10.0.1.2/24", "plumbline.dev/public-address": "198.51.100.2:4789", "plumbline.dev/direct-routing": "true", "plumbline.dev/site": "a"}},
    "spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.2"}, {"type": "ExternalIP", "address": "198.51.100.2"}]},
}  # fmt: skip
POD: dict[str, Any] = {
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"vxlan.openvnf.org": "true"}, "annotations": {"vxlan.openvnf.org/networks": "vxeth1:ip=192.168.11.2/29", "plumbline.dev/segments": "{vxeth1: {ip: 192.168.11.2/29}}"}},
    "spec": {"nodeName": "n1", "hostNetwork": False}, "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.5"}], "podIP": "10.244.1.5"},
}  # fmt: skip
MANIFESTS: list[Any] = [
    NODE,
    POD,
    {"apiVersion": "v1", "kind": "List", "items": [NODE, POD]},
    {"kind": "NodeList", "items": [{**NODE, "kind": "Node"}]},
]
SPEC = b"apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {address: 10.0.1.1/24, podCIDRs: [10.244.1.0/24]}}\nfabric: {}\nsegments: {vxeth1: {vni: 101}}\n"


@pytest.mark.parametrize("index", range(len(MANIFESTS)))
@examples(80)
@given(data=st.data())
def test_no_change_of_a_manifest_leads_to_a_traceback(index: int, data: st.DataObject, tmp_path_factory: Any) -> None:
    document = data.draw(changed(MANIFESTS[index]))
    if data.draw(st.booleans()):
        text, suffix = json.dumps(document, default=str).encode(), ".json"
    else:
        text, suffix = yaml.dump(document).encode("utf-8", "surrogatepass"), ".yaml"
    go(tmp_path_factory.mktemp("fuzz"), SPEC, text, suffix)


@examples(100)
@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    suffix=st.sampled_from([".yaml", ".json"]),
)
def test_no_bytes_of_a_manifest_do(content: bytes, suffix: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"facts{suffix}"
    path.write_bytes(content)
    try:
        objects = read_manifests(path)
    except BadManifest as error:
        assert str(error).startswith(str(path))
        return
    nodes_of(objects)
    pods_of(objects)


MIB = 1 << 20
BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n".encode() for n in range(1, 12)
)  # fmt: skip
HEAD = b"apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
HUGE: dict[str, bytes] = {
    "all one word": HEAD + b"nodes: " + b"a" * (MIB - 100),
    "open brackets": b"[" * (MIB - 1),
    "open braces": b"{a: " * (MIB // 4 - 1),
    "nested blocks": b"".join(b" " * n + b"a:\n" for n in range(1400)),
    "nested lists on one line": b"- " * (MIB // 2 - 1),
    "aliases of aliases": BOMB,
    "an alias inside itself": HEAD + b"nodes: &n {n1: *n}\n",
    "ten thousand aliases": HEAD
    + b"x: &x ["
    + b"1, " * 1000
    + b"]\nresources: {link: {"
    + b"".join(b"a%d: *x, " % n for n in range(10000))
    + b"}}\n",
    "the same key again and again": HEAD + b"nodes:\n" + b"  n1: {}\n" * 100_000,
    "a huge number": HEAD + b"fabric: {overlay: {vni: " + b"9" * 500_000 + b"}}\n",
    "a huge hexadecimal number": HEAD + b"fabric: {overlay: {vni: 0x" + b"f" * 500_000 + b"}}\n",
    "a huge exponent": HEAD + b"fabric: {overlay: {vni: 1e" + b"9" * 25 + b"}}\n",
    "unknown keys": HEAD + b"".join(b"fabri%06d: 1\n" % n for n in range(70_000)),
    "wrong nodes": HEAD + b"nodes: {" + b"".join(b"n%d: {address: x, mtu: y}, " % n for n in range(30_000)) + b"}\n",
    "wrong resources": HEAD + b"resources: {route: {" + b"".join(b"r%d: {dts: x}, " % n for n in range(50_000)) + b"}}\n",
    "anchors": HEAD + b"".join(b"- &a%d x\n" % n for n in range(90_000)),
    "quotes": HEAD + b'"' + b"\\x41" * 250_000 + b'": 1\n',
    "comments": b"#\n" * (MIB // 2),
    "a network of hostile digits": HEAD + b"fabric: {podNetwork: [" + b"1." * 500_000 + b"]}\n",
    "a route of hostile digits": HEAD + b'resources: {route: {x: {dst: "' + b"1:" * 500_000 + b'", dev: x}}}\n',
}
# A child with an end to its memory and its processor time: what runs away is killed, and the last line says what it was.
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from reconciler.cli.inputs import read_inputs
from reconciler.cli.trouble import CannotGoOn
for line in sys.stdin:
    name, *paths = line.rstrip().split("|")
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 30, resource.RLIM_INFINITY))
    print(name, end=": ", flush=True)
    try:
        read_inputs(paths[0], paths[1:])
    except CannotGoOn as error:
        print("told", flush=True)
    else:
        print("read", flush=True)
"""


def bounded(files: dict[str, list[Path]]) -> dict[str, str]:
    """What became of each: told (as a mistake) or read."""
    asked = "".join("|".join([name, *map(str, paths)]) + "\n" for name, paths in files.items())
    done = subprocess.run([sys.executable, "-c", CHILD], input=asked, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout.splitlines()[-1], done.stderr[-2000:])
    return dict(line.split(": ") for line in done.stdout.splitlines())


def test_what_is_huge_ends_in_bounded_time_and_memory(tmp_path: Path) -> None:
    files = {}
    for number, (name, content) in enumerate(HUGE.items()):
        files[name] = [tmp_path / f"{number}.yaml"]
        files[name][0].write_bytes(content)
    assert bounded(files) == dict.fromkeys(HUGE, "told")


HUGE_MANIFESTS: dict[str, tuple[str, bytes]] = {
    "deep JSON": ("facts.json", b"[" * 500_000),
    "deep JSON objects": ("facts.json", b'{"a":' * 500_000),
    "deep YAML": ("facts.yaml", b"- " * 500_000),
    "deep flow": ("facts.yaml", b"{a: " * 250_000),
    "aliases of aliases": ("facts.yaml", b"kind: List\nitems: &z\n" + b"".join(
        f"- kind: List\n  items: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else '{kind: x}'}]\n".encode() for n in range(12))),
    "a huge number": ("facts.json", b'{"kind": "Node", "metadata": {"name": ' + b"9" * 500_000 + b"}}"),
    "a huge address": ("facts.json", b'{"kind": "Node", "metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "' + b"1:" * 500_000 + b'"}]}}'),
    "many public addresses": ("facts.json", json.dumps({"kind": "Node", "metadata": {"name": "n", "annotations": {"plumbline.dev/public-address": ",".join(["198.51.100.1:1"] * 60_000)}}}).encode()),
    "many nodes of one name": ("facts.json", json.dumps({"kind": "List", "items": [{"kind": "Node", "metadata": {"name": "n", "labels": {"k": str(n)}}} for n in range(30_000)]}).encode()),
}  # fmt: skip


def test_huge_manifests_do_too(tmp_path: Path) -> None:
    spec = tmp_path / "network.yaml"
    spec.write_bytes(SPEC)
    files = {}
    for number, (name, (suffix, content)) in enumerate(HUGE_MANIFESTS.items()):
        facts = tmp_path / f"{number}-{suffix}"
        facts.write_bytes(content)
        files[name] = [spec, facts]
    assert set(bounded(files)) == set(HUGE_MANIFESTS)
