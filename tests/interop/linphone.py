"""Linphone's command line client: told what to do on a terminal of its own, with files for a sound card."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.interop.audio import Recording, read, write_tone
from tests.interop.waiting import free_port, wait_for

ANSWER_SECONDS_MAX = 15.0
END_SECONDS_MAX = 5.0
RATE = 48000
CONFIGURATION = """\
[sip]
ipv6_migration_done=1
use_ipv6=0
bind_address={host}
sip_port={sip}
sip_tcp_port=-2
sip_tls_port=-2
guess_hostname=0
contact="{user}" <sip:{user}@{host}>
register_only_when_network_is_up=0
[rtp]
audio_rtp_port={rtp}
[sound]
echocancellation=0
agc=0
"""


class Linphone:
    """One phone; ended when it is left."""

    def __init__(self, folder: Path, user: str, *, tone: float = 440.0, host: str = "127.0.0.1") -> None:
        self.user = user
        self.said = ""
        """All that it wrote on its terminal."""
        self._folder = folder / f"linphone-{user}"
        (self._folder / ".local" / "share" / "linphone").mkdir(parents=True)
        self._host = host
        self._heard = self._folder / "heard.wav"
        self._voice = write_tone(self._folder / "voice.wav", tone, 30.0)
        self._seen = 0
        sip, rtp = free_port(host), free_port(host) & ~1
        (self._folder / "linphonerc").write_text(CONFIGURATION.format(host=host, user=user, sip=sip, rtp=rtp))

    def __enter__(self) -> "Linphone":
        self._terminal, far = pty.openpty()
        environment = {"HOME": str(self._folder), "PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C"}
        command = ["linphonec", "-c", str(self._folder / "linphonerc"), "-d", "6", "-l", str(self._folder / "log")]
        self._process = subprocess.Popen(command, stdin=far, stdout=far, stderr=far, cwd=self._folder, env=environment)
        os.close(far)
        self.wait("linphonec>")
        self.tell("ipv6 disable", "disabled")
        self.tell("soundcard use files", "instead of soundcard")
        self.tell(f"play {self._voice}")
        self.tell(f"record {self._heard}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"--- linphone {self.user}\n{self.said[-2000:]}\n{self.log()[-6000:]}")
        try:
            os.write(self._terminal, b"quit\n")
            deadline = time.monotonic() + END_SECONDS_MAX
            while self._process.poll() is None and time.monotonic() < deadline:
                self._read(0.1)
        finally:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            os.close(self._terminal)

    def register(self, server: str, password: str) -> None:
        """Register at ``host:port``."""
        self.tell(f"register sip:{self.user}@{server} sip:{server} {password}")
        wait_for(lambda: "to [LinphoneRegistrationOk]" in self.log(), name="registration of linphone")

    def call(self, uri: str) -> None:
        """Call, until sound flows."""
        self.tell(f"call {uri}", "Media streams established")

    def hang_up(self) -> None:
        self.tell("terminate", "ended")

    def hear(self, seconds: float) -> None:
        """Wait until it has recorded so much (Opus, its first codec, is recorded at 48 kHz)."""
        wait_for(lambda: self._heard.exists() and self._heard.stat().st_size > seconds * 2 * RATE, name="sound at linphone")

    def heard(self) -> Recording:
        """What it has recorded; the file is whole some time after the call."""
        wait_for(lambda: b"data" in self._heard.read_bytes()[:64], name="linphone's recording")
        return read(self._heard)

    def tell(self, command: str, answer: str = "") -> None:
        """Give a command, and wait for what it says then; empty: it says nothing."""
        self._seen = len(self.said)
        os.write(self._terminal, command.encode() + b"\n")
        self.wait(answer)

    def wait(self, text: str) -> None:
        """Wait until it says something.

        Raises:
            TimeoutError: it did not.
        """
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while text not in self.said[self._seen :]:
            if time.monotonic() > deadline or not self._read(0.5):
                raise TimeoutError(f"linphone {self.user}: no {text!r} but {self.said[self._seen :]!r}")

    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _read(self, seconds: float) -> bool:
        """Read what it says; False: it is gone."""
        if select.select([self._terminal], [], [], seconds)[0]:
            try:
                data = os.read(self._terminal, 4096)
            except OSError:
                return False
            self.said += data.decode(errors="replace")
        return True
