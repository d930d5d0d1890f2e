"""Paths stay where they belong: parameters below /proc/sys/net, files in folders of our own kind, pods' namespaces out of no pod's hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.guard import Limits
from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.facts.pods import BadPod, parse_pod
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.file import file
from reconciler.kinds.file.row import refused
from reconciler.kinds.sysctl import path_of
from reconciler.spec.values import conflist_name, folder
from tests.effort import examples

pieces = st.lists(
    st.sampled_from(["/", "..", ".", "net", "a", "etc", "//", "plumbline", "plumbline.conf", "10-plumbline.conflist", "cni", "net.d", "\0", "\n", "~", "*", "-x"]),
    max_size=10,
)  # fmt: skip


@examples(300)
@given(pieces.map("".join) | pieces.map("/".join) | pieces.map(".".join).map("net.{}".format) | st.text(max_size=20))
def test_no_parameter_leads_out_of_its_folder(name: str) -> None:
    path = path_of(name)
    if path is not None:
        assert os.path.normpath(path).startswith("/proc/sys/net/")


@examples(300)
@given(pieces.map("".join) | pieces.map("/".join) | st.text(max_size=30))
def test_no_file_is_written_where_it_does_not_belong(path: str) -> None:
    for one in (path, f"/etc/cni/net.d/{path}", f"/etc/plumbline/{path}"):
        if not refused(one):
            assert os.path.normpath(one) == one
            assert one.startswith("/")
            assert "plumbline" in Path(one).name
            parent = str(Path(one).parent)
            assert parent.endswith(("/cni/net.d", "/cni-network")) or "plumbline" in parent.split("/")


@examples(300)
@given(pieces.map("".join) | pieces.map("/".join) | st.text(max_size=30))
def test_nor_does_any_setting_of_the_cni_file(text: str) -> None:
    for check in (folder, conflist_name):
        try:
            found = check(text)
        except ValueError:
            continue
        assert os.path.normpath(found) == found
        assert found.startswith("/") or "/" not in found


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
@pytest.mark.parametrize("value", ["../../proc/1/ns/net", "..", "/run/netns/x", "a/b", "a\0", "{node}", "a b", "-x/.."])
def test_no_pod_names_a_namespace_by_path(field: str, value: str) -> None:
    with pytest.raises(BadPod, match=field):
        parse_pod({"kind": "Pod", "metadata": {"name": "p", "namespace": "d", "uid": "u", field: value}})


def apply(*rows: object, root: str = "") -> Result:
    wanted, _ = merge(all_kinds(), rows)
    node = KernelNode()
    files = Kinds([all_kinds()["file"]])
    try:
        return Round(node, files, limits=Limits(1.0, 1000)).converge(Scope(("",), wanted if rows else Wanted(), root))
    finally:
        node.close()


def test_a_link_of_our_name_is_neither_followed_nor_removed(tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("theirs")
    place = tmp_path / "cni/net.d"
    place.mkdir(parents=True)
    (place / "10-plumbline.conflist").symlink_to(secret)
    result = apply(file("/cni/net.d/10-plumbline.conflist", "ours", root=str(tmp_path)))
    assert not result.converged
    assert any("not ours" in error for error in result.errors)
    assert secret.read_text() == "theirs"
    assert (place / "10-plumbline.conflist").is_symlink()


def test_a_link_where_we_stage_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    place = tmp_path / "plumbline"
    place.mkdir()
    row = file("/plumbline/plumbline.conf", "ours", root=str(tmp_path))
    kind = all_kinds()["file"]
    (staged,) = kind.assign([row], [])
    secret = tmp_path / "shadow"
    secret.write_text("theirs")
    Path(staged.staged).symlink_to(secret)
    assert apply(row).converged
    assert secret.read_text() == "theirs"
    assert (place / "plumbline.conf").read_text() == "ours"
    assert not (place / "plumbline.conf").is_symlink()


def test_a_folder_of_our_name_is_left(tmp_path: Path) -> None:
    place = tmp_path / "plumbline"
    (place / "plumbline.conf").mkdir(parents=True)
    assert not apply(file("/plumbline/plumbline.conf", "ours", root=str(tmp_path))).converged
    assert (place / "plumbline.conf").is_dir()
