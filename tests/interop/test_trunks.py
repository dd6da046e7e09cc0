"""What lies behind us: a Kamailio with users of its own, and SIPp's stock server, reached by routes of the dial plan that lead outside."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.certificate import self_signed
from tests.cluster.running import Running
from tests.interop import kamailio, sipp
from tests.interop.baresip import Baresip
from tests.interop.kamailio import Kamailio
from tests.interop.waiting import free_port, wait_for

HOST = "127.0.0.1"
TALK_SECONDS = 1.0
OURS, THEIRS = 440.0, 1000.0
"""Voices, Hz."""
THEIR_USER = "70001"
"""Five digits: nothing that a user of ours could be."""
DOCUMENT = '''
[cluster]
guest_targets = ["9196", "1001"]
authorities = """{authorities}"""

[[routes]]
pattern = "9196"
action = "echo"

[[routes]]
pattern = "70XXX"
action = "outside"
target = "sip:{kamailio}"
callers = ["100X"]

[[routes]]
pattern = "90XXX"
action = "outside"
target = "sip:{tls};transport=tls"
callers = ["1001"]

[[routes]]
pattern = "80XXX"
action = "outside"
target = "sip:{sipp}"
callers = ["1001"]
'''


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Kamailio]]:
    """A cluster and a Kamailio that know each other."""
    folder = tmp_path_factory.mktemp("trunks")
    with Running(folder / "cluster") as running, Kamailio(folder, running.sip, configuration=kamailio.BEHIND) as other:
        yield running, other


def lead_outside(running: Running, folder: Path, **targets: str) -> None:
    """Apply `DOCUMENT`."""
    file = folder / "cluster.toml"
    file.write_text(DOCUMENT.format(**{"kamailio": f"{HOST}:9", "sipp": f"{HOST}:9", "tls": f"{HOST}:9", "authorities": ""} | targets))
    applied = running.command("apply", str(file))
    assert applied.returncode == 0, applied.stderr


def test_users_of_a_kamailio_behind_us(beside: tuple[Running, Kamailio], tmp_path: Path) -> None:
    running, other = beside
    lead_outside(running, tmp_path, kamailio=other.address)
    our = Baresip(tmp_path, "1001", server=running.sip, password=running.users["1001"], tone=OURS)
    their = Baresip(tmp_path, THEIR_USER, server=other.address, tone=THEIRS, answer="manual")
    with our, their:
        # to them: who hangs up is called, then who has called
        for hangs_up, hears in ((their, our), (our, their)):
            our.dial(f"sip:{THEIR_USER}@{running.sip}")
            their.wait("CALL_INCOMING")
            our.wait("CALL_RINGING")
            their.answer()
            our.wait("CALL_ESTABLISHED")
            their.wait("CALL_ESTABLISHED")
            wait_for(lambda: min(our.heard_seconds(), their.heard_seconds()) > TALK_SECONDS, name="sound behind kamailio")
            hangs_up.hang_up()
            hears.wait("CALL_CLOSED")
            hangs_up.wait("CALL_CLOSED")
            assert our.heard().heard(THEIRS) > TALK_SECONDS / 2
            assert their.heard().heard(OURS) > TALK_SECONDS / 2
        # given up while it rings, refused, nobody of that name
        our.dial(f"sip:{THEIR_USER}@{running.sip}")
        their.wait("CALL_INCOMING")
        our.hang_up()
        their.wait("CALL_CLOSED")
        our.wait("CALL_CLOSED")
        our.dial(f"sip:{THEIR_USER}@{running.sip}")
        their.wait("CALL_INCOMING")
        their.hang_up()
        assert "486" in our.wait("CALL_CLOSED")["param"]
        our.dial(f"sip:70009@{running.sip}")
        assert "404" in our.wait("CALL_CLOSED")["param"]
        # and from them
        their.dial(f"sip:1001@{other.address}")
        their.wait("CALL_ESTABLISHED")
        our.wait("CALL_ESTABLISHED")
        wait_for(lambda: min(our.heard_seconds(), their.heard_seconds()) > TALK_SECONDS, name="sound from behind kamailio")
        our.hang_up()
        their.wait("CALL_CLOSED")
        our.wait("CALL_CLOSED")
        assert our.heard().heard(THEIRS) > TALK_SECONDS / 2
        assert their.heard().heard(OURS) > TALK_SECONDS / 2
        log = their.log()
        assert f"Record-Route: <sip:{other.address};lr" in log
        assert "P-Asserted-Identity" not in log, "an assertion is for those who trust us alone"
    assert "ERROR" not in other.log()


def test_only_those_whom_the_route_names_call_outside(beside: tuple[Running, Kamailio], tmp_path: Path) -> None:
    running, _ = beside
    lead_outside(running, tmp_path)
    called = running.command("call", f"sip:80001@{running.sip}", "--json", "--user", "1002", "--password", running.users["1002"])
    assert json.loads(called.stdout)["status"] == 403


def test_sipp_as_a_server(beside: tuple[Running, Kamailio], tmp_path: Path) -> None:
    """The stock scenario ``uas`` answers a user's test call, and its echo comes back."""
    running, _ = beside
    with sipp.Answering(tmp_path / "uas") as server:
        lead_outside(running, tmp_path, sipp=server.address)
        done = running.command(
            "call", f"sip:80001@{running.sip}", "--duration", "1", "--json", "--user", "1001", "--password", running.users["1001"]
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert (report["status"], report["echo"], report["packets_lost"]) == (200, True, 0)
        assert server.errors() == ""


def test_a_trunk_over_tls_has_to_prove_itself(beside: tuple[Running, Kamailio], tmp_path: Path) -> None:
    running, _ = beside
    now = datetime.datetime.now(datetime.UTC)
    certificate, private_key = self_signed(HOST, now)
    port = free_port(HOST)
    trunk = Baresip(tmp_path, "90001", port=port, certificate=certificate + private_key, tone=THEIRS)
    our = Baresip(tmp_path, "1001", server=running.sip, password=running.users["1001"], tone=OURS)
    with trunk, our:
        lead_outside(running, tmp_path, tls=f"{HOST}:{port + 1}", authorities=self_signed(HOST, now)[0].decode())
        our.dial(f"sip:90001@{running.sip}")
        assert "503" in our.wait("CALL_CLOSED")["param"]
        assert "INVITE" not in trunk.log()
        lead_outside(running, tmp_path, tls=f"{HOST}:{port + 1}", authorities=certificate.decode())
        our.dial(f"sip:90001@{running.sip}")
        trunk.wait("CALL_ESTABLISHED")
        our.wait("CALL_ESTABLISHED")
        wait_for(lambda: min(our.heard_seconds(), trunk.heard_seconds()) > TALK_SECONDS, name="sound over a trunk of TLS")
        trunk.hang_up()
        our.wait("CALL_CLOSED")
        trunk.wait("CALL_CLOSED")
        assert our.heard().heard(THEIRS) > TALK_SECONDS / 2
        assert "Via: SIP/2.0/TLS" in trunk.log()
