"""The small API's HTTP side, with what can go wrong there."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.api.apply import apply
from tests.api.certificates import Certificates
from tests.api.kinds import Kinds, Target, checked
from tests.api.rules import Asked, User, allowed
from tests.api.store import Event, Matches, Refused, Store, Thing, not_found

Admission = Callable[[User, Asked, Thing], None]  # raises Refused


class SmallApi:
    """Listens from `start` to `stop`, on the same port every time; what it keeps stays."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self.certificates = certificates
        self.store, self.kinds = Store(), Kinds()
        self.users: dict[str, User] = {"admin": User("admin")}  # by token
        self.admission: list[Admission] = []
        self.bookmarks = 60.0  # seconds
        self.future = 0.05  # seconds before a list of a version of the future is refused; a real one takes up to 3
        self.seen: Counter[str] = Counter()  # "watch nodes" → how often
        self.fault: Callable[[str], tuple[int, dict[str, str]] | None] = lambda what: None  # an answer of its own for a request
        self.slow = threading.Event()  # set while answers hang
        self.mute = False  # watches say nothing any more, and do not end
        self._port = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = _Server(self, self._port)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Gone, with every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.drop()
            with self.store.changed:
                self.store.changed.notify_all()
            self._server = None

    def drop(self) -> None:
        """Every connection ends, as when a balancer restarts."""
        if self._server is not None:
            self._server.drop()

    @contextmanager
    def down(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    # -- for tests: as if somebody with all rights did it ------------------------------------

    def put(self, path: str, thing: Thing) -> Thing:
        target = self.kinds.target(f"{path}/{thing['metadata']['name']}")
        return self.store.put(target.kind.collection, target.key, _whole(target, thing))

    def delete(self, path: str) -> None:
        target = self.kinds.target(path)
        self.store.delete(target.kind.collection, target.key)

    def get(self, path: str) -> Thing | None:
        target = self.kinds.target(path)
        return self.store.get(target.kind.collection, target.key)

    def things(self, path: str) -> list[Thing]:
        return self.store.list(self.kinds.target(path).kind.collection, lambda thing: True)[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, api: SmallApi, port: int) -> None:
        self.api, self.open = api, set[socket.socket]()
        self._context = None
        if api.certificates is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(api.certificates.certificate, api.certificates.key)
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.open.add(connection)
        return connection, address

    def drop(self) -> None:
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        api = self.server.api
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        while api.slow.is_set() and api._server is self.server:
            time.sleep(0.01)
        try:
            user = api.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
            if user is None:
                raise Refused(401, "Unauthorized", "Unauthorized")
            target = api.kinds.target(parts.path)
            asked = _asked(self.command, target, query)
            what = f"{_counted(asked.verb, query)} {asked.resource}"
            api.seen[what] += 1
            if (fault := api.fault(what)) is not None:
                raise _Fault(*fault)
            if not allowed(user, asked):
                raise Refused(
                    403, "Forbidden", f'{asked.resource}{"." + asked.group if asked.group else ""} is forbidden: User "{user.name}" '
                    f'cannot {asked.verb} resource "{asked.resource}" in API group "{asked.group}"',
                )  # fmt: skip
            if asked.verb == "watch":
                self._watch(target, query)
                return
            code, said = self._do(user, asked, target, query, json.loads(body) if body else None)
        except Refused as refused:
            code, said = refused.code, refused.status()
        except _Fault as fault_:
            self._send(fault_.code, b'{"kind":"Status","message":"made up by a test"}', fault_.headers)
            return
        self._send(code, json.dumps(said).encode(), {})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # -- verbs ----------------------------------------------------------------------------------

    def _do(self, user: User, asked: Asked, target: Target, query: dict[str, str], body: Any) -> tuple[int, Thing]:
        store, collection = self.server.api.store, target.kind.collection
        match asked.verb:
            case "list":
                return 200, self._list(target, query)
            case "get":
                return 200, _or_404(store.get(collection, target.key), target)
            case "delete":
                self._admit(user, asked, _or_404(store.get(collection, target.key), target))
                return 200, store.delete(collection, target.key)
        old = store.get(collection, target.key) if target.name else None
        if self.command == "POST":
            new = _whole(target, body)
            target = target._replace(name=new["metadata"]["name"])
        elif self.command == "PUT":
            new = _whole(target, body)
            _or_404(old, target)
        elif "apply-patch" in self.headers.get("Content-Type", ""):
            if old is None and target.subresource:
                raise not_found(collection, target.key)
            if old is None and not allowed(user, asked._replace(verb="create")):
                raise Refused(
                    403, "Forbidden", f'{asked.resource} is forbidden: User "{user.name}" cannot create resource "{asked.resource}"'
                )
            new = _whole(
                target, apply(old, body, query["fieldManager"], force=query.get("force") == "true", subresource=target.subresource)
            )
        else:
            new = _merged(_or_404(old, target), body)
        new = checked(target.kind, _parted(target, old, new))
        self._admit(user, asked, new)
        version = str((body or {}).get("metadata", {}).get("resourceVersion") or "") if self.command in ("PUT", "PATCH") else ""
        made = store.put(collection, target.key, new, version=version, create=self.command == "POST")
        if target.kind.plural == "customresourcedefinitions":
            self.server.api.kinds.define(made)
        return 200 if old is not None else 201, made

    def _admit(self, user: User, asked: Asked, thing: Thing) -> None:
        for one in self.server.api.admission:
            one(user, asked, thing)

    def _list(self, target: Target, query: dict[str, str]) -> Thing:
        store = self.server.api.store
        after, version = "", 0
        asked = int(query.get("resourceVersion") or 0)
        if asked > store.version:
            time.sleep(self.server.api.future)
            raise Refused(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {store.version}")
        if token := query.get("continue"):
            said = json.loads(base64.b64decode(token))
            after, version = said["after"], said["version"]
            if version < store.oldest:
                raise Refused(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")
        found, now = store.list(target.kind.collection, _matches(target, query))
        found = [thing for thing in found if _key(thing) > after]
        metadata: Thing = {"resourceVersion": str(version or now)}
        limit = int(query.get("limit") or 0)
        if limit and len(found) > limit:
            token = json.dumps({"after": _key(found[limit - 1]), "version": version or now})
            metadata |= {"continue": base64.b64encode(token.encode()).decode(), "remainingItemCount": len(found) - limit}
            found = found[:limit]
        return {"kind": f"{target.kind.kind}List", "apiVersion": target.kind.api_version, "metadata": metadata, "items": found}

    def _watch(self, target: Target, query: dict[str, str]) -> None:
        api = self.server.api
        matches, collection = _matches(target, query), target.kind.collection
        after = int(query.get("resourceVersion") or 0)
        found: list[Event] = []
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        bookmark = time.monotonic() + api.bookmarks
        if not after:
            things, after = api.store.list(collection, matches)
            found = [Event(after, collection, None, thing, thing) for thing in things]
        try:
            while api._server is self.server:
                for event in found:
                    self._event(event, matches)
                with api.store.changed:
                    if api.mute:
                        api.store.changed.wait(0.05)
                        found = []
                        continue
                    found, newest = api.store.events(collection, after)
                    if not found:
                        api.store.changed.wait(min(0.2, max(0.0, min(end, bookmark) - time.monotonic())))
                        if api.mute:
                            continue
                        found, newest = api.store.events(collection, after)
                    after = max(after, newest)  # from a version of the future nothing is heard, nor is it refused
                if time.monotonic() >= end:
                    break
                if time.monotonic() >= bookmark and query.get("allowWatchBookmarks") and not found and after <= api.store.version:
                    bookmark = time.monotonic() + api.bookmarks
                    self._say(
                        "BOOKMARK",
                        {"kind": target.kind.kind, "apiVersion": target.kind.api_version, "metadata": {"resourceVersion": str(after)}},
                    )
            self.wfile.write(b"0\r\n\r\n")
        except Refused as refused:
            self._say("ERROR", refused.status())
            self.wfile.write(b"0\r\n\r\n")

    def _event(self, event: Event, matches: Matches) -> None:
        """To whoever selects, an object that he no longer selects is deleted, and one that he now does is added."""
        before, now = event.old is not None and matches(event.old), event.new is not None and matches(event.new)
        if now:
            self._say("MODIFIED" if before else "ADDED", event.new)
        elif before:
            last = {**event.last, "metadata": {**event.last["metadata"], "resourceVersion": str(event.version)}}
            self._say("DELETED", last)

    def _say(self, kind: str, thing: Thing | None) -> None:
        line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


class _Fault(Exception):
    def __init__(self, code: int, headers: dict[str, str]) -> None:
        self.code, self.headers = code, headers


def _counted(verb: str, query: dict[str, str]) -> str:
    """Lists that cost next to nothing are told apart: one that says from when is answered by a cache, one that names its object is one."""
    if verb != "list":
        return verb
    return "look" if query.get("resourceVersion") else "find" if "metadata.name=" in query.get("fieldSelector", "") else verb


def _asked(method: str, target: Target, query: dict[str, str]) -> Asked:
    named = target.name
    if method == "GET" and not named:
        verb = "watch" if query.get("watch") in ("1", "true") else "list"
        named = _selector(query.get("fieldSelector", "")).get("metadata.name", "")
    else:
        verb = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
    resource = target.kind.plural + (f"/{target.subresource}" if target.subresource else "")
    return Asked(verb, target.kind.group, resource, target.namespace, named)


def _selector(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for one in filter(None, text.split(",")):
        name, equals, value = one.replace("==", "=").partition("=")
        found[name] = value if equals else None
    return found


def _matches(target: Target, query: dict[str, str]) -> Matches:
    fields, labels = _selector(query.get("fieldSelector", "")), _selector(query.get("labelSelector", ""))

    def field(thing: Any, path: str) -> Any:
        for word in path.split("."):
            thing = (thing or {}).get(word)
        return thing or ""

    def matches(thing: Thing) -> bool:
        said = thing["metadata"].get("labels") or {}
        return (
            (not target.namespace or thing["metadata"].get("namespace") == target.namespace)
            and all(field(thing, path) == value for path, value in fields.items())
            and all(name in said and value in (None, said[name]) for name, value in labels.items())
        )

    return matches


def _key(thing: Thing) -> str:
    namespace = thing["metadata"].get("namespace")
    return f"{namespace}/{thing['metadata']['name']}" if namespace else str(thing["metadata"]["name"])


def _whole(target: Target, thing: Thing) -> Thing:
    metadata = dict(thing.get("metadata") or {})
    if target.name:
        metadata["name"] = target.name
    if target.namespace or target.kind.namespaced:
        metadata["namespace"] = target.namespace or metadata.get("namespace") or "default"
    return {**thing, "apiVersion": target.kind.api_version, "kind": target.kind.kind, "metadata": metadata}


def _parted(target: Target, old: Thing | None, new: Thing) -> Thing:
    """With a status of its own, a write of one side leaves the other as it is."""
    if not target.kind.status:
        return new
    if target.subresource == "status":
        assert old is not None
        kept = {**old, "metadata": {**old["metadata"], "managedFields": new["metadata"].get("managedFields", [])}}
        return {**kept, "status": new.get("status", {})}
    bare = {name: value for name, value in new.items() if name != "status"}
    return {**bare, "status": old["status"]} if old and "status" in old else bare


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _or_404(thing: Thing | None, target: Target) -> Thing:
    if thing is None:
        raise not_found(target.kind.collection, target.key)
    return thing
