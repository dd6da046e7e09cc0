"""A page in Debian's Chromium without a screen, told what to do over the DevTools protocol (a pipe: JSON, ended by NUL).

JsSIP is loaded from where `make` has put it, module by module, by a loader of a few lines: it is published for bundlers.
"""

import base64
import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.interop.waiting import wait_for

MODULES = Path(sys.prefix) / "jssip" / "node_modules"
ANSWER_SECONDS_MAX = 20.0
END_SECONDS_MAX = 5.0
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-default-apps", "--disable-extensions", "--disable-sync", "--mute-audio", "--no-proxy-server",
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,WebRtcHideLocalIpsWithMdns",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)  # fmt: skip
LOADER = """
(() => {
  const sources = %s, entries = %s, loaded = {};
  const find = path => [path, path + '.js', path + '.json', path + '/index.js'].find(each => each in sources);
  const load = path => {
    if (!(path in loaded)) {
      const module = loaded[path] = {exports: {}};
      if (path.endsWith('.json')) module.exports = JSON.parse(sources[path]);
      else new Function('require', 'module', 'exports', 'process', sources[path])(
        name => load(name.startsWith('.') ? find(new URL(name, 'file:///' + path).pathname.slice(1).replace(/\\/$/, '')) : entries[name]),
        module, module.exports, {env: {}});
    }
    return loaded[path].exports;
  };
  globalThis.JsSIP = load(entries.jssip);
})()
"""


class PageError(Exception):
    """The page threw something."""


class Chromium:
    """One browser with one page.

    Args:
        folder: its profile.
        certificate: of the server that it shall trust.
    """

    def __init__(self, folder: Path, certificate: Path) -> None:
        page = folder / "page.html"
        page.write_text("<!doctype html><title>phone</title>")
        key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
        pin = base64.b64encode(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()
        command_reader, self._commands = os.pipe()
        self._answers, answer_writer = os.pipe()
        options = " ".join((*OPTIONS, f"--ignore-certificate-errors-spki-list={pin}", f"--user-data-dir={folder / 'profile'}"))
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec chromium {options} 3<&{command_reader} 4>&{answer_writer}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(command_reader, answer_writer),
                start_new_session=True,
            )
        os.close(command_reader)
        os.close(answer_writer)
        self._buffer = b""
        self._number = 0
        self._session = ""
        try:
            target = self._command("Target.createTarget", url=page.as_uri())["targetId"]
            self._session = self._command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            wait_for(lambda: self.run("document.title === 'phone' && document.readyState === 'complete'"), name="the page")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def load_jssip(self) -> None:
        """Make ``JsSIP`` known to the page."""
        sources, entries = dict(_sources()), dict(_entries())
        self.run(LOADER % (json.dumps(sources), json.dumps(entries)))

    def run(self, script: str, seconds: float = ANSWER_SECONDS_MAX) -> Any:
        """The value of an expression, awaited where it is a promise.

        Raises:
            PageError: it threw, or was rejected.
            TimeoutError: no value within ``seconds``.
        """
        answer = self._command("Runtime.evaluate", seconds, expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["exception"].get("value") or details["text"])
        return answer["result"].get("value")

    def close(self) -> None:
        os.close(self._commands)  # it ends with its pipe
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        os.close(self._answers)

    def _command(self, method: str, seconds: float = ANSWER_SECONDS_MAX, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = memoryview(json.dumps(message).encode() + b"\0")
        while content:
            content = content[os.write(self._commands, content) :]
        deadline = time.monotonic() + seconds
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise PageError(f"the browser ended with {self._process.wait(END_SECONDS_MAX)}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _sources() -> Iterator[tuple[str, str]]:
    for path in MODULES.rglob("*"):
        if path.suffix in (".js", ".json") and "node_modules" not in path.relative_to(MODULES).parts and path.is_file():
            yield path.relative_to(MODULES).as_posix(), path.read_text()


def _entries() -> Iterator[tuple[str, str]]:
    """Package to its first module, the one for browsers where there is one."""
    for path in MODULES.glob("*/package.json"):
        package = json.loads(path.read_text())
        browser = package.get("browser")
        entry = (path.parent / (browser if isinstance(browser, str) else package.get("main", "index.js"))).resolve()
        found = next(each for each in (entry, entry.with_suffix(".js"), entry / "index.js") if each.is_file())
        yield path.parent.name, found.relative_to(MODULES.resolve()).as_posix()
