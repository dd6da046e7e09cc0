"""A cluster at an IPv6 address: calls with media both ways, messages over all transports, and the torture messages of RFC 5118."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.cluster.test_bad_input import status
from tests.fuzz.vectors import read
from tests.interop import sipp
from tests.interop.baresip import Baresip
from tests.interop.chromium import Chromium
from tests.interop.test_transports import register
from tests.interop.waiting import wait_for
from tests.interop.web_phone import WebPhone
from tests.telephony.sip.test_rfc_5118 import FILES, expected

HOST = "::1"
TALK_SECONDS = 1.0
ANSWER_SECONDS_MAX = 5.0
MESSAGE = """
new Promise((resolve, reject) => agent.sendMessage('sip:%s@hotswitch', %s,
  {eventHandlers: {succeeded: each => resolve(each.response.status_code), failed: each => reject(each.cause)}}))
"""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cluster with a machine for messages beside those for calls."""
    with Running(tmp_path_factory.mktemp("six"), address=HOST) as running:
        switched = running.command("switch", "machine-4", "--to", "messaging", "--wait", seconds=90)
        assert switched.returncode == 0, switched.stderr
        yield running


def test_stock_scenario(six: Running, tmp_path: Path) -> None:
    verdict = sipp.call(tmp_path, six.sip, service="9196", calls=10, host=HOST)
    assert (verdict.successful, verdict.failed, verdict.exit_code) == (10, 0, 0), verdict.errors


def test_the_echo_comes_back(six: Running) -> None:
    done = six.command("call", f"sip:9196@{six.sip}", "--duration", "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["echo"], report["packets_lost"]) == (200, True, 0)
    assert report["media"].startswith(f"{HOST}:")


def test_phones_call_each_other(six: Running, tmp_path: Path) -> None:
    first = Baresip(tmp_path, "1001", server=six.sip, password=six.users["1001"], host=HOST, tone=440.0)
    second = Baresip(tmp_path, "1002", server=six.sip, password=six.users["1002"], host=HOST, tone=1000.0, transport="tcp")
    with first, second:
        for caller, called in ((first, second), (second, first)):
            caller.dial(f"sip:{called.user}@{six.sip}")
            caller.wait("CALL_ESTABLISHED")
            called.wait("CALL_ESTABLISHED")
            wait_for(lambda: min(first.heard_seconds(), second.heard_seconds()) > TALK_SECONDS, name="audio at both")
            called.hang_up()
            caller.wait("CALL_CLOSED")
            called.wait("CALL_CLOSED")
            assert first.heard().heard(second.tone) > TALK_SECONDS / 2
            assert second.heard().heard(first.tone) > TALK_SECONDS / 2
        for phone in (first, second):
            assert "c=IN IP6 ::1" in phone.log()
            assert "IN IP4" not in phone.log()


def test_rfc_5118_on_the_wire(six: Running) -> None:
    """Each is answered as a proxy core does it, where the port of the answer is asked for (RFC 3581); nothing of it harms the proxy."""
    host, port = HOST, int(six.sip.rpartition(":")[2])
    for path in FILES:
        data = read(path).replace(b";branch=z9hG4bK", f";rport;branch=z9hG4bK{path.stem}".encode(), 1)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as line:
            line.bind((host, 0))
            line.connect((host, port))
            line.settimeout(ANSWER_SECONDS_MAX)
            line.send(data)
            wanted = expected(path)["proxy"]
            # asked for is another host than this proxy, which in the vector is the one that answers OPTIONS
            assert status(line.recv(65535)) == int("407" if wanted == "200" else wanted), path.stem
            own = f"[{host}]:{line.getsockname()[1]}"
            line.send(
                f"OPTIONS sip:{six.sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKlives{path.stem};rport\r\nMax-Forwards: 70\r\n"
                f"From: <sip:lives@{own}>;tag=1\r\nTo: <sip:{six.sip}>\r\nCall-ID: {path.stem}-lives\r\nCSeq: 1 OPTIONS\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            answers = [line.recv(65535)]
            while b"-lives" not in answers[-1]:
                answers.append(line.recv(65535))
            assert answers[-1].startswith(b"SIP/2.0 200 "), path.stem


def test_messages_between_all_transports(six: Running, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    running, passwords = six, six.users
    sip = running.sip
    udp = Baresip(tmp_path, "1001", server=sip, password=passwords["1001"], host="::1", friend=f"sip:1005@{sip}")
    tcp = Baresip(tmp_path, "1002", server=sip, password=passwords["1002"], host="::1", transport="tcp", friend=f"sip:1004@{sip}")
    phone = WebPhone("1004", passwords["1004"], running.ws, running.certificate)
    with Chromium(tmp_path_factory.mktemp("chromium"), running.certificate) as browser, udp, tcp, phone:
        browser.load_jssip()
        register(browser, running, "1005")
        udp.message("from UDP to a browser")
        assert wait_for(lambda: browser.run("seen.shift()"), name="a message in the browser") == "from UDP to a browser"
        assert browser.run(MESSAGE % ("1001", json.dumps("from a browser"))) == 200
        udp.wait_log("from a browser")
        tcp.message("from TCP to a WebSocket")
        assert phone.messaged() == "from TCP to a WebSocket"
        assert phone.message("1002", "from a WebSocket") == 200
        tcp.wait_log("from a WebSocket")
        browser.run("agent.stop()")
