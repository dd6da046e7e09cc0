"""Kamailio on both sides of the cluster: a phone behind it registers, calls and is called through it (Record-Route, BYE, CANCEL)."""

from pathlib import Path

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.kamailio import Kamailio
from tests.interop.waiting import wait_for

TALK_SECONDS = 1.0
BEHIND, DIRECT = 440.0, 1000.0
"""Voices, Hz."""


def test_a_phone_behind_kamailio(cluster: Running, tmp_path: Path) -> None:
    with Kamailio(tmp_path, cluster.sip) as kamailio:
        behind = Baresip(tmp_path, "1001", server=kamailio.address, password=cluster.users["1001"], tone=BEHIND, answer="manual")
        direct = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=DIRECT)
        with behind, direct:
            # before us: the call of its user comes through it, and so does the BYE
            behind.dial(f"sip:1002@{kamailio.address}")
            behind.wait("CALL_ESTABLISHED")
            direct.wait("CALL_ESTABLISHED")
            wait_for(lambda: behind.heard_seconds() > TALK_SECONDS, name="sound behind kamailio")
            direct.hang_up()
            behind.wait("CALL_CLOSED")
            direct.wait("CALL_CLOSED")
            assert behind.heard().heard(DIRECT) > TALK_SECONDS / 2
            # behind us: we call its user through it
            direct.dial(f"sip:1001@{cluster.sip}")
            behind.wait("CALL_INCOMING")
            behind.answer()
            behind.wait("CALL_ESTABLISHED")
            direct.wait("CALL_ESTABLISHED")
            behind.hang_up()
            direct.wait("CALL_CLOSED")
            behind.wait("CALL_CLOSED")
            # and give it up before it is answered
            direct.dial(f"sip:1001@{cluster.sip}")
            behind.wait("CALL_INCOMING")
            direct.hang_up()
            behind.wait("CALL_CLOSED")
            direct.wait("CALL_CLOSED")
            log = behind.log()
            assert f"Record-Route: <sip:{kamailio.address};lr" in log
            assert "CANCEL sip:" in log
        assert "ERROR" not in kamailio.log()
