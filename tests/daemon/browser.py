"""A headless Chromium, driven by WebDriver's plain HTTP protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # by this name an answer holds a reference to an element
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--no-proxy-server",
    "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def missing() -> str:
    """Why there is no browser; empty where there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not found; on Debian: apt-get install chromium chromium-driver" if lacking else ""


class Browser:
    """One window. Whatever fails says what WebDriver said of it."""

    def __init__(self, address: str, session: str) -> None:
        self._session = f"{address}/session/{session}"

    def open(self, url: str) -> None:
        self.command("url", {"url": url})

    def js(self, script: str, *given: Any) -> Any:
        """What a function body returns, a promise's value too."""
        return self.command("execute/sync", {"script": script, "args": list(given)})

    def click(self, selector: str) -> None:
        self.command(f"element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self.command(f"element/{self._find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """On the keyboard, into whatever has the focus."""
        strokes = [{"type": way, "value": key} for key in keys for way in ("keyDown", "keyUp")]
        self.command("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def devtools(self, name: str, **given: Any) -> Any:
        """A command of https://chromedevtools.github.io/devtools-protocol/."""
        return self.command("goog/cdp/execute", {"cmd": name, "params": given})

    def scheme(self, name: str) -> None:
        """ "light" or "dark": what the reader's system prefers."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width: int, height: int) -> None:
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def complaints(self) -> list[str]:
        """What the console said since the last time: errors, and what the page's policy forbade."""
        return [one["message"] for one in self.command("se/log", {"type": "browser"}) if one["level"] in ("SEVERE", "WARNING")]

    def until(self, script: str, *given: Any, seconds: float = 15) -> Any:
        """Wait until a function body returns something; what it was."""
        return _until(lambda: self.js(script, *given), lambda: f"{script}\n{self.js('return document.body.innerText')[:3000]}", seconds)

    def command(self, path: str, body: dict[str, Any]) -> Any:
        return _post(f"{self._session}/{path}", body)

    def _find(self, selector: str) -> str:
        found: str = self.command("element", {"using": "css selector", "value": selector})[ELEMENT]
        return found


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A new one with nothing in it; gone when the block ends."""
    log = folder / "chromedriver.log"
    with TemporaryDirectory(prefix="plt-") as home:  # a socket's path has 107 bytes, and pytest's folders use most of them up
        yield from _started(Path(home), log)


def _started(folder: Path, log: Path) -> Iterator[Browser]:
    environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}
    with log.open("w") as stream:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=stream, stderr=stream, env=environment)
    try:
        started = _until(lambda: re.search(r"started successfully on port (\d+)", log.read_text()), log.read_text, 30)
        address = f"http://127.0.0.1:{started[1]}"
        options = {"args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"], "binary": str(shutil.which("chromium"))}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _post(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            _ask(urllib.request.Request(f"{address}/session/{session}", method="DELETE"))  # noqa: S310
    finally:
        driver.terminate()
        driver.wait(timeout=10)


def _post(url: str, body: dict[str, Any]) -> Any:
    return _ask(urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}))  # noqa: S310


def _ask(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{request.full_url}: {json.load(error)['value']['message']}") from None


def _until(condition: Callable[[], Any], what: Callable[[], str], seconds: float) -> Any:
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what()}"
        threading.Event().wait(0.02)
    return found
