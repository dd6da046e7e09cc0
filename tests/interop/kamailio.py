"""Kamailio as somebody else's proxy: at the edge, phones register, call and are called through it; behind us, it has users of its own."""

import socket
import subprocess
from pathlib import Path
from types import TracebackType

from tests.interop.waiting import free_port, wait_for

FRONT = Path(__file__).with_name("kamailio-front.cfg")
"""All that comes to it goes on to the target."""
BEHIND = Path(__file__).with_name("kamailio-behind.cfg")
"""It is the registrar of its own users; whoever else is called by them is called at the target."""
PROGRAM = "/usr/sbin/kamailio"
END_SECONDS_MAX = 5.0


class Kamailio:
    """One Kamailio beside ``target`` (``host:port``); ended, with its children, when it is left."""

    def __init__(self, folder: Path, target: str, host: str = "127.0.0.1", configuration: Path = FRONT) -> None:
        self.address = f"{host}:{free_port(host, socket.SOCK_DGRAM)}"
        self._host = host
        self._folder = folder / "kamailio"
        self._folder.mkdir()
        text = configuration.read_text()
        server, _, port = target.rpartition(":")
        for name, value in {"LISTEN": self.address, "HOST": server, "PORT": port}.items():
            text = text.replace(f"@{name}@", value)
        (self._folder / "kamailio.cfg").write_text(text)

    def __enter__(self) -> "Kamailio":
        command = [PROGRAM, "-DD", "-m", "64", "-M", "8", "-Y", str(self._folder), "-f", str(self._folder / "kamailio.cfg")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder)
        try:
            wait_for(self._answers, name="kamailio")
        except BaseException as error:
            error.add_note(self.log())
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"--- kamailio\n{self.log()[-3000:]}")
        self._end()

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        """It answers a request that may go no further."""
        host, _, port = self.address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.bind((self._host, 0))
            line.settimeout(0.2)
            own = "{}:{}".format(*line.getsockname())
            line.sendto(
                f"OPTIONS sip:{self.address} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKready\r\nMax-Forwards: 0\r\n"
                f"From: <sip:ready@{own}>;tag=1\r\nTo: <sip:{self.address}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\n\r\n".encode(),
                (host, int(port)),
            )
            try:
                return line.recv(4096).startswith(b"SIP/2.0 483")
            except OSError:
                return False

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
