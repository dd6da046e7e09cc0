"""Torture messages as datagrams to a running cluster: each is answered as a proxy core answers it, or not at all, and the proxy lives."""

from pathlib import Path

import pytest

from telephony.effects import Send
from telephony.proxy.core import Proxy
from telephony.sip.flow import Flow
from tests.cluster.running import Running
from tests.cluster.test_bad_input import ANSWER_SECONDS_MAX, datagrams, lives, status
from tests.fuzz.vectors import ROOT, SHARED, read
from tests.telephony.proxy.setting import configuration

FOLDERS = [ROOT / "tests" / "vectors" / "sip", ROOT / "tests" / "vectors" / "rfc5118", SHARED / "rfc4475"]
REFUSED = (400, 505)
"""What the message itself brings about, whoever the users are and whatever the address is."""


def messages(folder: Path) -> list[bytes]:
    return [read(path) for path in sorted(folder.glob("*.txt"))] + [path.read_bytes() for path in sorted(folder.glob("*.dat"))]


def answers(data: bytes) -> list[int]:
    """What a proxy core answers by itself."""
    proxy = Proxy()
    proxy.configure(configuration(), 0.0)
    proxy.receive(data, Flow("udp", "public-udp", "127.9.9.9", 5060), 0.0)
    return [status(effect.data) for effect in proxy.take() if isinstance(effect, Send) and effect.data.startswith(b"SIP/")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_torture_on_the_wire(folder: Path, cluster: Running) -> None:
    found = messages(folder)
    if not found:
        pytest.skip(f"waits for the files of {folder.name} in shared/vectors beside the project")
    for data in found:
        wanted = answers(data)
        # a socket and an address for each: answers cannot be mistaken for another's, and no ban comes of it
        with datagrams(cluster) as line:
            line.send(data)
            if not wanted:
                lives(cluster, line)
                continue
            # what asks for an answer elsewhere (its Via names no rport) gets it there: only who asks is told here
            line.settimeout(ANSWER_SECONDS_MAX if b";rport" in data else 0.05)
            try:
                got = status(line.recv(65535))
            except TimeoutError:
                got = 0
            if got and wanted[0] in REFUSED:
                assert got == wanted[0], data
            line.settimeout(ANSWER_SECONDS_MAX)
            lives(cluster, line)
