"""Requests that wait for rounds; what is kept of pods for a restart; the socket; the file that is installed."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.cni.attached import Attachment, Attachments
from reconciler.daemon.cni.boot import Boot
from reconciler.daemon.cni.desk import Closed, Desk, missing
from reconciler.daemon.cni.install import MARK, NotOurs, NotThere, install, uninstall
from reconciler.daemon.cni.request import CniError, Request
from reconciler.daemon.cni.unix_socket import AT_ONCE, CniSocket, NoSocket
from reconciler.daemon.step import Report
from reconciler.engine.model import Conflict, Observed, Plan, Seen, Wanted
from reconciler.facts.model import Facts, Host, Pod
from reconciler.intents import Context
from reconciler.kernel.netns import Identity
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from reconciler.spec.load import load_text
from tests.namespaces import sh

SPEC = load_text(
    "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {}}\ncni: {chained: true, wait: 1s}\nsegments: {vx1: {vni: 101}}\n"
).spec
NO_SEGMENTS = load_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {}}\n").spec
MEMBER = Pod("media", "a", "uid-a", "n1", annotations={"plumbline.dev/segments": '{"vx1": {}}'})
PLAIN = Pod("media", "plain", "uid-plain", "n1")
ATTACHMENT = Attachment("c1", "eth0", "media/a", "uid-a", "pod-a", (4, 17), ("10.244.1.5",))
LINK = Link(LinkKey("pod-a", "vx1"), "vxlan", GROUP, parent="eth0", info=Vxlan(id=101))


def report(
    *pods: Pod, spec: Any = SPEC, known: bool = True, rows: tuple[Any, ...] = (LINK,), plan: Plan | None = None, **more: Any
) -> Report:
    facts = Facts({}, Host("eth0", 1500), pods if known else None)
    context = Context(spec, facts, "n1", lambda path: "")
    return Report("d", wanted=Wanted({"link": {row.key: row for row in rows}}), plans=(plan or Plan("n1", ()),), context=context, **more)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (report(MEMBER), ""),
        (report(MEMBER._replace(uid="")), ""),
        (report(PLAIN._replace(name="a", uid="uid-a"), rows=()), ""),
        (report(spec=NO_SEGMENTS, known=False), ""),
        (Report("", problems=("network.yaml:3: it is wrong",)), "network.yaml:3: it is wrong"),
        (Report(""), "no network.yaml is in force yet"),
        (report(known=False), "does not know which pods there are"),
        (report(PLAIN), "has not heard of this pod yet (uid uid-a)"),
        (report(MEMBER._replace(uid="before")), "has not heard of this pod yet"),
        (report(MEMBER._replace(node="n2")), "on node n2, and this is n1"),
        (report(MEMBER, rows=()), "segment vx1 is not planned for it"),
        (report(MEMBER, rows=(), errors=("two nodes have one address",)), "two nodes have one address"),
        (report(MEMBER, seen=Seen({}, {"pod-a": "Permission denied"})), "cannot be looked into: Permission denied"),
        (report(MEMBER, seen=Seen({}, {"pod-a": ""})), "it has gone"),
        (report(MEMBER, seen=Seen({"fdb": Observed([], "no answer")})), "no answer"),
        (report(MEMBER, seen=Seen({"nft": Observed([], "no answer")})), ""),
        (report(MEMBER, plan=Plan("n1", (), (Conflict("link", LINK, LINK, "vx1 is somebody else's", ""),))), "vx1 is somebody else's"),
        (report(MEMBER, plan=Plan("n1", (), (Conflict("link", LINK._replace(key=LinkKey("", "plumb0")), None, "not here", ""),))), ""),
    ],
)
def test_what_a_pod_still_lacks(given: Report, why: str) -> None:
    said = missing(given, ATTACHMENT)
    assert why in said
    assert bool(why) is bool(said)


def test_a_member_without_an_address_is_told_whose_mistake_that_is() -> None:
    assert "gave the pod no address" in missing(report(MEMBER), ATTACHMENT._replace(addresses=()))


class Shop:
    """A desk, and who asks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.woken, self.there = threading.Semaphore(0), {"pod-a": (4, 17)}
        monkeypatch.setattr("reconciler.daemon.cni.attached._identity", self.there.get)
        monkeypatch.setattr(Request, "netns", property(lambda request: ("pod-a", (4, 17))))
        self.attachments, self.boot = Attachments(None), Boot(None)
        self.desk = Desk(self.attachments, self.boot, self.woken.release, Silent())

    def ask(self, command: str, **config: Any) -> Callable[[], Any]:
        """In a thread; the call returned gives what came of it."""
        variables = {"CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_ARGS": "K8S_POD_NAMESPACE=media;K8S_POD_NAME=a;K8S_POD_UID=uid-a"}
        result = {"prevResult": {"ips": [{"address": "10.244.1.5/24"}]}}
        done: list[Any] = []

        def work() -> None:
            try:
                done.append(self.desk.answer(Request(command, variables, result | config)))
            except (CniError, Closed) as error:
                done.append(error)

        thread = threading.Thread(target=work)
        thread.start()

        def outcome() -> Any:
            thread.join(timeout=10)
            return done[0] if done else None

        return outcome

    def round(self, given: Report) -> None:
        self.desk.begins()
        self.desk.ended(given)


class Silent:
    def warning(self, *words: str, **more: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(monkeypatch)


def test_a_round_that_had_begun_before_counts_for_nothing(shop: Shop) -> None:
    """It may have looked for the pod before the pod was there: that all is well then says nothing."""
    shop.round(report(MEMBER))
    shop.desk.begins()
    outcome = shop.ask("ADD")
    assert shop.woken.acquire(timeout=10), "it asks for a round"
    shop.desk.ended(report(MEMBER))
    error = outcome()
    assert isinstance(error, CniError)
    assert (error.code, "busy with another round" in error.details) == (11, True)


def test_rounds_are_waited_for_until_one_leaves_nothing(shop: Shop) -> None:
    outcome = shop.ask("ADD")
    assert shop.woken.acquire(timeout=10)
    shop.round(report(MEMBER, rows=(), errors=("not yet",)))
    shop.round(report(MEMBER))
    assert json.loads(outcome()) == {"ips": [{"address": "10.244.1.5/24"}]}


def test_what_the_last_round_left_is_told_at_the_end(shop: Shop) -> None:
    shop.round(report(MEMBER))
    outcome = shop.ask("ADD")
    assert shop.woken.acquire(timeout=10)
    shop.round(report(MEMBER, rows=(), errors=("not yet",)))
    error = outcome()
    assert (error.code, error.details) == (11, "not yet; it is tried again")


def test_who_waits_when_the_daemon_ends_is_told_nothing(shop: Shop) -> None:
    outcome = shop.ask("CHECK")
    assert shop.woken.acquire(timeout=10)
    shop.desk.close()
    assert isinstance(outcome(), Closed)
    assert isinstance(shop.ask("ADD")(), Closed)


@pytest.mark.parametrize("given", [report(MEMBER._replace(annotations={})), report(spec=NO_SEGMENTS, known=False)])
def test_a_pod_that_asks_for_nothing_waits_for_nothing(shop: Shop, given: Report) -> None:
    shop.round(given)
    assert shop.ask("ADD")() is not None
    assert not shop.woken.acquire(blocking=False)


def test_a_pod_s_mistake_is_told_at_once(shop: Shop) -> None:
    outcome = shop.ask("ADD")
    assert shop.woken.acquire(timeout=10)
    shop.round(report(MEMBER._replace(annotations={"plumbline.dev/segments": '{"vx2": {}}'})))
    error = outcome()
    assert (error.code, "there is no such segment; did you mean vx1?" in error.message) == (7, True)


def test_del_and_gc_ask_for_a_round_only_where_something_goes(shop: Shop) -> None:
    assert shop.ask("DEL")() == b""
    assert not shop.woken.acquire(blocking=False)
    for gone in ({"command": "DEL"}, {"command": "GC", "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]}):
        outcome = shop.ask("ADD")
        assert shop.woken.acquire(timeout=10)
        shop.round(report(MEMBER))
        outcome()
        assert shop.attachments.every() == {"pod-a"}
        assert shop.ask(**gone)() == b""
        assert shop.woken.acquire(timeout=10)
        assert shop.attachments.found(Nobody(), [MEMBER]) == {}


class Nobody:
    """A runtime that has written nothing."""

    def find(self, pods: Any) -> Mapping[str, str]:
        return {}

    def every(self) -> tuple[str, ...]:
        return ()


class Written(Nobody):
    """A runtime that has written where pods are."""

    def find(self, pods: Any) -> Mapping[str, str]:
        return {pod.key: "pod-a" for pod in pods}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, Identity]:
    """The namespaces that are."""
    found = {"pod-a": (4, 17), "pod-b": (4, 18)}
    monkeypatch.setattr("reconciler.daemon.cni.attached._identity", found.get)
    return found


def test_a_pod_that_was_taken_away_is_not_found_by_what_the_runtime_wrote(there: dict[str, Identity]) -> None:
    attachments = Attachments(None)
    attachments.add(ATTACHMENT)
    assert attachments.found(Nobody(), [MEMBER]) == {"media/a": "pod-a"}
    assert attachments.drop(lambda one: True) == [ATTACHMENT]
    assert attachments.found(Written(), [MEMBER]) == {}
    assert attachments.every() == {"pod-a"}, "what is left in it has to go"
    attachments.add(ATTACHMENT)
    assert attachments.found(Nobody(), [MEMBER]) == {"media/a": "pod-a"}
    attachments.drop(lambda one: True)
    there["pod-a"] = (4, 99)
    assert attachments.found(Written(), [MEMBER]) == {"media/a": "pod-a"}, "another namespace of that name"
    assert attachments.every() == set()


def test_a_new_sandbox_of_a_pod_takes_the_place_of_the_old_one(there: dict[str, Identity]) -> None:
    attachments = Attachments(None)
    attachments.add(ATTACHMENT)
    attachments.add(ATTACHMENT._replace(container="c2", netns="pod-b", known=(4, 18), addresses=("10.244.1.6",)))
    host = attachments.on(Host("eth0", 1500), Nobody(), [MEMBER], "n1")
    assert (host.namespaces, host.attached) == ({"media/a": "pod-b"}, {"media/a": ("10.244.1.6",)})
    attachments.drop(lambda one: one.container == "c1")
    assert attachments.found(Nobody(), [MEMBER]) == {"media/a": "pod-b"}
    del there["pod-b"]
    assert attachments.found(Nobody(), [MEMBER]) == {}, "its namespace has gone, and nobody has said so"
    there["pod-b"] = (4, 18)
    other = MEMBER._replace(uid="another")
    assert attachments.on(Host("eth0", 1500), Nobody(), [other], "n1").attached == {}, "a pod of that name that came after"
    assert attachments.on(Host("eth0", 1500), Nobody(), [MEMBER._replace(node="n2")], "n1").attached == {}


def test_what_was_attached_is_known_after_a_restart_while_its_namespace_stands(there: dict[str, Identity], tmp_path: Path) -> None:
    first = Attachments(tmp_path)
    first.add(ATTACHMENT)
    first.add(ATTACHMENT._replace(container="c2", pod="media/b", netns="pod-b", known=(4, 18)))
    assert stat.S_IMODE((tmp_path / "attachments.json").stat().st_mode) == 0o600
    there["pod-b"] = (4, 99)
    problems: list[str] = []
    again = Attachments(tmp_path, problems.append)
    assert again.every() == {"pod-a"}
    assert again.on(Host("eth0", 1500), Nobody(), [MEMBER], "n1").attached == {"media/a": ("10.244.1.5",)}
    assert not problems


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"version": 2, "attachments": []}', b'{"version": 1, "attachments": [{}]}',
                                     b'{"version": 1, "attachments": [{"container": 1, "ifname": "", "pod": "", "uid": "", "netns": "", "known": [1, 2], "addresses": []}]}'])  # fmt: skip
def test_a_damaged_file_is_named_and_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "attachments.json").write_bytes(content)
    problems: list[str] = []
    assert Attachments(tmp_path, problems.append).every() == set()
    assert "is damaged, and not used" in problems[0]


def test_a_disk_that_does_not_do_stops_nothing(there: dict[str, Identity], tmp_path: Path) -> None:
    problems: list[str] = []
    attachments, boot = Attachments(tmp_path / "gone", problems.append), Boot(tmp_path / "gone", problems.append)
    attachments.add(ATTACHMENT)
    assert attachments.found(Nobody(), [MEMBER]) == {"media/a": "pod-a"}
    assert not boot.settled
    assert boot.settle()
    assert not boot.settle(), "once"
    assert len(problems) == 2


def test_a_boot_is_settled_once(tmp_path: Path) -> None:
    assert Boot(None).settled, "nowhere to keep it: a restart must not look like a boot"
    first = Boot(tmp_path)
    assert not first.settled
    assert first.settle()
    assert Boot(tmp_path).settled
    (tmp_path / "settled").write_text("another boot\n")
    assert not Boot(tmp_path).settled


@pytest.mark.parametrize(("age", "settled"), [(0.0, True), (1e9, False)], ids=["of this boot", "of an earlier one"])
def test_a_version_that_kept_no_record_left_a_file(tmp_path: Path, age: float, settled: bool) -> None:
    loaded = load_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\ncni: {}\n")
    context = Context(loaded.spec, Facts({}), "n1", loaded.where)
    state, file = tmp_path / "state", tmp_path / "etc/cni/net.d/10-plumbline.conflist"
    state.mkdir()
    nothing = Boot(state)
    nothing.carry_over(context, str(tmp_path))
    assert not nothing.settled, "no file, so no network yet"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    os.utime(file, (time.time() - age,) * 2)
    upgraded = Boot(state)
    upgraded.carry_over(context, str(tmp_path))
    assert upgraded.settled is settled
    (state / "settled").write_text("another boot\n")
    booted = Boot(state)
    booted.carry_over(context, str(tmp_path))
    assert not booted.settled, "a record goes before the file"


def say(path: Path, *parts: bytes) -> bytes:
    """What the socket answers to these bytes; empty where it hangs up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.settimeout(10)
        try:
            for part in parts:
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(4096), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def framed(type_: bytes, body: bytes) -> bytes:
    return struct.pack(">cI", type_, len(body)) + body


@pytest.fixture
def echo(short: Path) -> Iterator[Path]:
    def handle(environment: bytes, body: bytes, takes: Callable[[float], None]) -> tuple[bytes, bytes]:
        takes(1.5)
        return b"O", environment + b"|" + body

    made = CniSocket(short / "below" / "s", handle)
    yield short / "below" / "s"
    made.close()
    assert not (short / "below" / "s").exists()


def test_the_socket_is_root_s_and_takes_only_whole_requests(echo: Path) -> None:
    assert stat.S_IMODE(echo.stat().st_mode) == 0o600
    whole = framed(b"E", b"environment"), framed(b"I", b"input")
    assert say(echo, *whole) == framed(b"W", struct.pack(">I", 1500)) + framed(b"O", b"environment|input")
    for broken in (
        b"",
        b"E",
        whole[0],
        whole[0][:-1],
        whole[1],
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">cI", b"E", 0xFFFFFFFF),
        struct.pack(">cI", b"E", (64 << 10) + 1),
    ):
        assert say(echo, broken) == b""
    assert say(echo, whole[0], struct.pack(">cI", b"I", (1 << 20) + 1)) == b""
    assert say(echo, *whole), "and it still answers"


def test_more_than_can_be_answered_at_once_wait(echo: Path) -> None:
    idle = []
    for _ in range(AT_ONCE + 5):
        idle.append(socket.socket(socket.AF_UNIX))
        idle[-1].connect(str(echo))
    for one in idle:
        one.close()
    assert say(echo, framed(b"E", b""), framed(b"I", b""))


def test_a_socket_that_was_left_is_replaced_and_another_s_is_not_removed(short: Path) -> None:
    first = CniSocket(short / "s", lambda *request: (b"O", b"first"))
    second = CniSocket(short / "s", lambda *request: (b"O", b"second"))
    first.close()
    assert say(short / "s", framed(b"E", b""), framed(b"I", b"")).endswith(b"second")
    second.close()


def test_where_no_socket_can_be_it_says_why(short: Path) -> None:
    with pytest.raises(NoSocket, match="the path is too long"):
        CniSocket(short / ("x" * 120), lambda *request: None)
    (short / "file").touch()
    with pytest.raises(NoSocket, match="PLUMBLINE_CNI_SOCKET names another path"):
        CniSocket(short / "file" / "s", lambda *request: None)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin as this plumbline came with it."""
    path = tmp_path / "built"
    path.write_bytes(b"\x7fELF new" + MARK)
    monkeypatch.setattr("reconciler.daemon.cni.install.BUILT", path)
    return path


def test_the_plugin_is_installed_in_the_place_of_an_older_one_only(built: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "bin").mkdir()
    target = folder / "plumbline"
    (folder / ".new-plumbline-left").touch()
    assert install(folder).endswith("installed")
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert [one.name for one in folder.iterdir()] == ["plumbline"], "nothing half written is left"
    inode = target.stat().st_ino
    assert "already" in install(folder)
    assert target.stat().st_ino == inode
    target.write_bytes(b"\x7fELF older" + MARK)
    with target.open("rb") as running:
        assert "replaced an older one" in install(folder)
        assert running.read() == b"\x7fELF older" + MARK, "who runs the old one keeps it"
    assert target.read_bytes() == built.read_bytes()
    assert "removed" in uninstall(folder)
    assert "not there" in uninstall(folder)


def test_what_is_somebody_else_s_stays(built: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "bin").mkdir()
    target = folder / "plumbline"
    for make in (lambda: target.write_bytes(b"#!/bin/sh\n"), lambda: target.symlink_to(built), target.mkdir):
        make()
        for what in (install, uninstall):
            with pytest.raises(NotOurs, match="stays as it is"):
                what(folder)
        sh(f"test -e {target} && rm -r {target}")


def test_a_plumbline_that_came_without_it_says_how_to_build_it(built: Path, tmp_path: Path) -> None:
    built.unlink()
    with pytest.raises(NotThere, match="make cni"):
        install(tmp_path)


def test_every_build_bears_the_mark(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.daemon.cni.install.BUILT", plugin)
    assert install(tmp_path).endswith("installed")
    assert "already" in install(tmp_path)
    assert os.access(tmp_path / "plumbline", os.X_OK)
