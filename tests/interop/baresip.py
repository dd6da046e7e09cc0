"""A baresip phone without a screen: own configuration folder, a tone for a voice, a WAV of what it hears.

It is told what to do over its control port (module ctrl_tcp: JSON in netstrings), and says what happens there.
"""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.interop.audio import Recording, read, write_tone
from tests.interop.waiting import free_port, wait_for

MODULES = Path("/usr/lib/baresip/modules")
START_SECONDS_MAX = 10.0
EVENT_SECONDS_MAX = 10.0
END_SECONDS_MAX = 5.0

CONFIGURATION = """\
module_path {modules}
module g711.so
{security}module aufile.so
module aubridge.so
module sndfile.so
snd_path {folder}/heard
module_app account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
audio_player aubridge,ear
audio_source aufile,{voice}
audio_alert aufile,{alert}
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_buffer 20-160
sip_listen {bracketed}:{port}
net_interface {host}
rtp_ports {rtp_first}-{rtp_last}
rtp_stats yes
call_local_timeout 30
call_max_calls 4
ctrl_tcp_listen {bracketed}:{control}
"""


class Baresip:
    """One phone, registered when it is entered; ended when it is left."""

    def __init__(
        self,
        folder: Path,
        user: str,
        *,
        server: str = "",
        password: str = "",
        tone: float = 440.0,
        answer: str = "auto",
        transport: str = "udp",
        voice_seconds: float = 60.0,
        friend: str = "",
        watched: str = "",
        security: str = "",
        host: str = "127.0.0.1",
        trust: Path | None = None,
        register_seconds_max: float = EVENT_SECONDS_MAX,
        port: int = 0,
        certificate: bytes = b"",
    ) -> None:
        """A phone of ``user`` at ``server`` (``host:port``), whose voice is one ``tone`` (Hz).

        It answers by itself unless ``answer`` is ``manual``. Its messages go to the URI ``friend``; it subscribes to the
        presence of the URI ``watched``.
        Without a server it registers nowhere and can still call. Over TLS it takes no certificate but those in the file ``trust``.
        Without a server it registers nowhere and can still call, and be called at ``port``; with a ``certificate`` (PEM, with its key)
        also over TLS, at the next port. ``security`` is how it encrypts media: a ``mediaenc`` of baresip.
        """
        self.user = user
        self.tone = tone
        self.events: list[dict[str, Any]] = []
        """All that it has said so far, in order."""
        self._folder = folder / f"phone-{user}"
        self._folder.mkdir(parents=True)
        self._host = host
        self._control_port = free_port(host)
        self._server = server
        self._register_seconds_max = register_seconds_max
        self._log = self._folder / "log"
        self._buffer = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        (self._folder / "heard").mkdir()
        voice = write_tone(self._folder / "voice.wav", tone, voice_seconds)
        alert = write_tone(self._folder / "alert.wav", 100.0, 0.1)
        rtp_first = free_port(host, socket.SOCK_DGRAM) & ~1
        (self._folder / "config").write_text(
            CONFIGURATION.format(
                modules=MODULES,
                security=f"module {security.partition('-')[0]}.so\nrtcp_mux yes\n" if security else "",
                voice=voice,
                alert=alert,
                folder=self._folder,
                host=host,
                port=port,
                bracketed=f"[{host}]" if ":" in host else host,
                control=self._control_port,
                rtp_first=rtp_first,
                rtp_last=rtp_first + 20,
            )
            + (f"sip_cafile {trust}\nsip_verify_server yes\n" if trust else "")
            + ("module_app presence.so\n" if watched else "")
            + (f"sip_certificate {self._folder / 'certificate.pem'}\n" if certificate else "")
        )
        domain = server or (f"[{host}]" if ":" in host else host)
        account = f"<sip:{user}@{domain};transport={transport}>;auth_pass={password};answermode={answer};audio_codecs=PCMU,PCMA"
        if security:
            account += f";mediaenc={security}"
        account += ";regint=60" if server else ";regint=0"
        (self._folder / "accounts").write_text(account + "\n")
        (self._folder / "certificate.pem").write_bytes(certificate)
        (self._folder / "contacts").write_text(
            (f'"Friend" <{friend}>\n' if friend else "\n") + (f'"Watched" <{watched}>;presence=p2p\n' if watched else "")
        )
        (self._folder / "current_contact").write_text(friend)

    def __enter__(self) -> "Baresip":
        log = self._log.open("wb")
        with log:
            self._process = subprocess.Popen(
                ["baresip", "-s", "-f", str(self._folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder
            )
        try:
            self._control = self._connect()
            if self._server:
                self.wait_log(" binding", seconds=self._register_seconds_max)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"--- baresip {self.user}\n{self.log()[-3000:]}")
        self._end()

    def dial(self, uri: str) -> None:
        self._command("dial", uri)

    def answer(self) -> None:
        self._command("accept")

    def hang_up(self) -> None:
        self._command("hangup")

    def transfer(self, target: str) -> None:
        """Send the other side of its newest call elsewhere, by REFER."""
        self._command("transfer", target)

    def message(self, text: str) -> None:
        """Send a SIP MESSAGE to its friend; what comes of it stands in its log."""
        self._command("message", text)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_log(self, text: str, *, seconds: float = EVENT_SECONDS_MAX) -> None:
        """Wait until its log, which holds every SIP message, holds ``text``.

        Raises:
            TimeoutError: it did not come.
        """
        wait_for(lambda: text in self.log(), seconds=seconds, name=f"phone {self.user}: {text!r} in its log")

    def wait(
        self, kind: str, *, seconds: float = EVENT_SECONDS_MAX, having: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """The first event of a kind, ``CALL_ESTABLISHED``, from the last one waited for on.

        Raises:
            TimeoutError: nothing of that kind within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            for at in range(seen, len(self.events)):
                event = self.events[at]
                if event.get("type") == kind and having(event):
                    del self.events[: at + 1]
                    return event
            seen = len(self.events)
            if not self._read(deadline):
                raise TimeoutError(f"phone {self.user}: no {kind} within {seconds} s, but {[event.get('type') for event in self.events]}")

    def heard(self) -> Recording:
        """All that it has heard in its newest call (decoded, after its jitter buffer); complete once the call is over.

        Raises:
            FileNotFoundError: it has had no call yet.
        """
        recordings = sorted((self._folder / "heard").glob("dump-*-dec.wav"))
        if not recordings:
            raise FileNotFoundError(f"phone {self.user} has heard nothing")
        return read(recordings[-1])

    def heard_seconds(self) -> float:
        """How much it has recorded of its newest call so far; 0 before the first sound."""
        recordings = sorted((self._folder / "heard").glob("dump-*-dec.wav"))
        return max(recordings[-1].stat().st_size - 44, 0) / 2 / 8000 if recordings else 0.0

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return socket.create_connection((self._host, self._control_port), timeout=1)
            except OSError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"baresip {self.user} did not start:\n{self.log()}") from None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.02)

    def _command(self, command: str, parameters: str = "") -> None:
        body = json.dumps({"command": command, "params": parameters}).encode()
        assert self._control is not None
        self._control.sendall(b"%d:%s," % (len(body), body))

    def _read(self, deadline: float) -> bool:
        """Read more events; False when the deadline has passed or the phone is gone."""
        assert self._control is not None
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self._control.settimeout(left)
        try:
            data = self._control.recv(65536)
        except TimeoutError:
            return False
        self._buffer += data
        while b":" in self._buffer:
            length, _, rest = self._buffer.partition(b":")
            if len(rest) <= int(length):
                break
            event = json.loads(rest[: int(length)])
            if event.get("event"):
                self.events.append(event)
            self._buffer = rest[int(length) + 1 :]
        return bool(data)

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()  # it unregisters first
            try:
                self._process.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._control is not None:
            self._control.close()
