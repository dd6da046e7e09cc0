"""Kamailio as the peer: one worker, fast memory manager (Debian's default one debugs, at twice the cost)."""

import shutil
import socket
import tempfile
from pathlib import Path

from loadtest.bench import address, packages
from loadtest.bench.process import Process

CONFIGURATIONS = Path(__file__).parent / "peers"
SHARED_MEMORY_MIB = 1024
PRIVATE_MEMORY_MIB = 32


class Kamailio:
    """Kamailio with a configuration of ours: ``proxy`` or ``registrar``.

    Args:
        password: of every user, for the registrar.
    """

    role = "peer"

    def __init__(self, purpose: str, password: str = "") -> None:
        packages.need("kamailio")
        self.name = "kamailio"
        self.target = f"{address.KAMAILIO}:{address.SIP_PORT}"
        self._folder = Path(tempfile.mkdtemp(prefix="hotswitch-kamailio-"))
        text = (CONFIGURATIONS / f"kamailio-{purpose}.cfg").read_text()
        for name, value in {"LISTEN": self.target, "FOLDER": str(self._folder), "PASSWORD": password}.items():
            text = text.replace(f"@{name}@", value)
        (self._folder / "kamailio.cfg").write_text(text)
        (self._folder / "dispatcher.list").write_text(f"1 sip:{address.CALLEE}:{address.CALLEE_PORT}\n")
        self.process = Process([
            packages.program("kamailio"), "-DD", "-x", "fm", "-X", "fm", "-m", str(SHARED_MEMORY_MIB), "-M", str(PRIVATE_MEMORY_MIB),
            "-Y", str(self._folder), "-f", str(self._folder / "kamailio.cfg"),
        ])  # fmt: skip
        self.process.wait_until(lambda: answers_options(self.target))

    def roots(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def answers_options(target: str) -> bool:
    """Whether something at ``host:port`` answers a SIP request at all (any status)."""
    host, _, port = target.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((address.CALLER, 0))
        client.settimeout(0.2)
        own = f"{address.CALLER}:{client.getsockname()[1]}"
        request = (
            f"OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKready\r\nMax-Forwards: 0\r\n"
            f"From: <sip:ready@{own}>;tag=1\r\nTo: <sip:{target}>\r\nCall-ID: ready@{own}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            client.sendto(request.encode(), (host, int(port)))
            return client.recv(4096).startswith(b"SIP/2.0 ")
        except OSError:
            return False
