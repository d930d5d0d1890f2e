"""Requests to the Kubernetes API, in raw JSON: the only use that is made of the `kubernetes` client, and of its transport alone.

Of the client come TLS, proxies, kubeconfigs with all their ways to log in, and the pool of
connections; none of its thousands of typed models. Tried with its versions 29.0 and 37.0.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from reconciler import __version__
from reconciler.cluster.access import Access, NoAccess

CONNECT, READ = 5.0, 30.0  # seconds to get a connection, and between two pieces of an answer
JSON, MERGE_PATCH, APPLY_PATCH = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
_CHUNK = 1 << 16
_MOST_OF_AN_ERROR = 1 << 16


class Trouble(Exception):
    """The API did not do what it was asked. `status`: of HTTP, 0 where there was no answer; `wait`: seconds that it asked for."""

    def __init__(self, message: str, status: int = 0, reason: str = "", wait: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.reason, self.wait = status, reason, wait

    @property
    def gone(self) -> bool:
        """What we know is too old to go on from, or newer than all that the server has: only a new list helps."""
        return self.status == 410 or self.reason == "Expired" or "Too large resource version" in str(self)


@contextmanager
def no_mistake_ends_it(what: str) -> Iterator[None]:
    """For what must go on whatever happens: a mistake of ours becomes Trouble, and is tried again like any other."""
    try:
        yield
    except Trouble:
        raise
    except Exception as error:
        raise Trouble(f"{what}: a mistake in plumbline, {type(error).__name__}: {error}") from error


class Cut(Trouble):
    """An answer that goes on for long broke off, or nothing came for as long as we wait."""


class Api:
    """One way to the API, for any number of threads. What fails at one server is tried at the next one the time after."""

    def __init__(self, access: Access) -> None:
        """Raises NoAccess."""
        self._access = access
        self._lock = threading.Lock()
        self._token = _Token(access)
        self._configuration, self._pool = self._connect()
        self._servers = self._usual = access.servers or (self._configuration.host.rstrip("/"),)
        self._turn = 0

    @property
    def namespace(self) -> str:
        return self._access.namespace

    @property
    def server(self) -> str:
        """The one that is asked now."""
        return self._servers[self._turn % len(self._servers)]

    def reach(self, servers: tuple[str, ...]) -> None:
        """Ask these from here on; where none are said, those that it began with."""
        self._servers = servers or self._usual

    def get(self, path: str, query: Mapping[str, str] | None = None, *, within: float = 0.0) -> dict[str, Any]:
        """Raises Trouble."""
        return self.send("GET", path, query=query, within=within)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content: str = JSON,
        within: float = 0.0,
    ) -> dict[str, Any]:
        """One request and its answer. Raises Trouble. `within`: seconds between two pieces of it; else as many as are usual."""
        from urllib3.exceptions import HTTPError

        answer = self._ask(method, path, query, body, content, within or READ)
        try:
            data = answer.read()
            found = json.loads(data) if data else {}
        except HTTPError as error:
            raise self._no_answer(error) from None
        except ValueError:
            raise Trouble(f"{self.server}{path}: the answer is no JSON; is it a Kubernetes API that answers there?") from None
        finally:
            answer.release_conn()
        if not isinstance(found, dict):
            raise Trouble(f"{self.server}{path}: the answer is no object; is it a Kubernetes API that answers there?")
        return found

    def stream(self, path: str, query: Mapping[str, str], silence: float) -> Stream:
        """An answer that goes on for long. Raises Trouble. `silence`: seconds after which it is taken for dead."""
        return Stream(self, self._ask("GET", path, query, None, JSON, silence))

    def close(self) -> None:
        self._pool.clear()

    def _configured(self) -> Any:
        """Raises NoAccess."""
        from kubernetes.client import Configuration

        configuration = Configuration()
        if self._access.kubeconfig:
            from kubernetes import config
            from yaml import YAMLError

            load: Any = config.load_kube_config  # without types
            try:
                load(self._access.kubeconfig, client_configuration=configuration)
            except (config.ConfigException, YAMLError, OSError, ValueError, TypeError) as error:
                raise NoAccess(f"{self._access.kubeconfig}: {' '.join(str(error).split())}") from None
        elif self._access.authority is not None:
            configuration.ssl_ca_cert = str(self._access.authority)
        configuration.keep_alive = True
        configuration.connection_pool_maxsize = 16
        return configuration

    def _connect(self) -> tuple[Any, Any]:
        """Raises NoAccess."""
        from kubernetes.client.rest import RESTClientObject

        configuration = self._configured()
        try:
            return configuration, RESTClientObject(configuration).pool_manager
        except OSError as error:
            raise NoAccess(f"{self._access.kubeconfig or self._access.authority}: {error}") from None

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content: str, silence: float) -> Any:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": JSON, "User-Agent": f"plumbline/{__version__}", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = content
        try:
            answer = self._pool.request(
                method, url, body=None if body is None else json.dumps(body).encode(), headers=headers,
                timeout=Timeout(connect=CONNECT, read=silence), retries=False, redirect=False, preload_content=False,
            )  # fmt: skip
        except (HTTPError, OSError, ssl.SSLError) as error:
            raise self._no_answer(error) from None
        if answer.status == 401:
            self._log_in_again()
        if not 200 <= answer.status < 300:
            raise self._refused(answer, path)
        return answer

    def _log_in_again(self) -> None:
        """Read anew who we are: a token's file, a kubeconfig."""
        self._token.again()
        if self._access.kubeconfig:
            with suppress(NoAccess), self._lock:
                self._configuration = self._configured()

    def _authorization(self) -> dict[str, str]:
        if self._access.token is not None:
            return {"Authorization": f"Bearer {self._token.read()}"}
        with self._lock:  # a kubeconfig's way to log in may run a program
            settings = self._configuration.auth_settings()
        return {one["key"]: one["value"] for one in settings.values() if one.get("in") == "header" and one.get("value")}

    def _refused(self, answer: Any, path: str) -> Trouble:
        from urllib3.exceptions import HTTPError

        try:
            said = json.loads(answer.read(_MOST_OF_AN_ERROR))
        except (ValueError, HTTPError):
            said = {}
        finally:
            answer.release_conn()
        said = said if isinstance(said, dict) else {}
        if answer.status in (500, 502, 503, 504):
            self._turn += 1
        message = said.get("message") or answer.reason or "no reason given"
        after = answer.headers.get("Retry-After", "")
        wait = float(after) if after.isdigit() else 0.0
        return Trouble(f"{self.server}{path}: {answer.status} {message}", answer.status, str(said.get("reason") or ""), wait)

    def _no_answer(self, error: Exception) -> Trouble:
        from urllib3.exceptions import ReadTimeoutError, SSLError

        server = self.server
        self._turn += 1
        if isinstance(error, ReadTimeoutError):
            return Trouble(f"{server}: no answer in time")
        if isinstance(error, (SSLError, ssl.SSLError)):
            return Trouble(
                f"{server}: {_plain(error)}; the certificates that it is checked against are in "
                f"{self._access.authority or self._access.kubeconfig}, and the name in the address must be one that it is made out for"
            )
        return Trouble(f"{server}: {_plain(error)}")


class Stream:
    """Lines of an answer that goes on, whole ones only. Leave it by closing it, from any thread."""

    def __init__(self, api: Api, answer: Any) -> None:
        self._api, self._answer = api, answer

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._answer.close()

    def interrupt(self) -> None:
        """Whoever waits for the next line waits no longer."""
        with suppress(Exception):
            self._answer.shutdown()

    def lines(self) -> Iterator[bytes]:
        """Raises Cut."""
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for piece in self._answer.stream(_CHUNK):
                *whole, rest = (rest + piece).split(b"\n") if rest else piece.split(b"\n")
                yield from whole
        except (HTTPError, OSError) as error:
            raise Cut(str(self._api._no_answer(error))) from None


class _Token:
    """The content of a token's file as it is now: a look at the file's times before each request, and a read when they change."""

    def __init__(self, access: Access) -> None:
        self._path, self._stamp, self._text = access.token, (0, 0), ""

    def again(self) -> None:
        """It was refused: read it, whatever the file's times say."""
        self._stamp = (0, 0)

    def read(self) -> str:
        """Raises Trouble."""
        if self._path is None:
            return ""
        try:
            said = self._path.stat()
            if (stamp := (said.st_ino, said.st_mtime_ns)) != self._stamp:
                self._text, self._stamp = self._path.read_text().strip(), stamp
        except OSError as error:
            raise Trouble(f"{self._path}: {error.strerror}; the kubelet writes it, if the pod's service account is mounted") from None
        return self._text


def _plain(error: BaseException) -> str:
    """What the innermost reason says, without the names of classes and addresses of objects."""
    inner: Any = error
    while isinstance(getattr(inner, "reason", None), BaseException):
        inner = inner.reason
    inner = inner.__cause__ if isinstance(inner.__cause__, OSError) else inner
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner).rpartition(">: ")[2] or type(inner).__name__
