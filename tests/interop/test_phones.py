"""Point 3: two phones register with digest, call each other, then both call a conference; each hears the other, not itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.waiting import wait_for

TALK_SECONDS = 3.0
FIRST, SECOND = 440.0, 1000.0
"""Voices of the two, Hz: no harmonic of one is the other."""
OWN_LEVEL_MAX = -45.0
"""dBFS; what a phone may hear of itself."""
OWN_SECONDS_MAX = 0.2
"""For how long its own tone may seem to be there all the same: where another's voice begins or stops, the edge holds every frequency."""


@pytest.fixture
def phones(cluster: Running, tmp_path: Path) -> Iterator[tuple[Baresip, Baresip]]:
    first = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=FIRST)
    second = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=SECOND)
    with first, second:
        yield first, second


def talk(phone: Baresip) -> None:
    """Wait until the call has lasted, by what the phone has recorded."""
    wait_for(lambda: phone.heard_seconds() > TALK_SECONDS, name=f"{TALK_SECONDS} s of audio at phone {phone.user}")


def hears(phone: Baresip, other: float) -> None:
    recording = phone.heard()
    assert recording.heard(other) > TALK_SECONDS - 0.6
    assert recording.gaps(other) == 0.0
    assert -14.0 < recording.level(other) < -10.0
    assert recording.heard(phone.tone, level=OWN_LEVEL_MAX) < OWN_SECONDS_MAX


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_call_each_other(cluster: Running, tmp_path: Path, transport: str) -> None:
    first = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=FIRST, transport=transport)
    second = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=SECOND, transport=transport)
    with first, second:
        first.dial(f"sip:1002@{cluster.sip}")
        first.wait("CALL_ESTABLISHED")
        second.wait("CALL_ESTABLISHED")
        talk(first)
        talk(second)
        second.hang_up()
        first.wait("CALL_CLOSED")
        second.wait("CALL_CLOSED")
        hears(first, SECOND)
        hears(second, FIRST)


def test_conference(cluster: Running, phones: tuple[Baresip, Baresip]) -> None:
    first, second = phones
    for phone in phones:
        phone.dial(f"sip:3000@{cluster.sip}")
        phone.wait("CALL_ESTABLISHED")
    talk(second)
    for phone in phones:
        phone.hang_up()
        phone.wait("CALL_CLOSED")
    hears(second, FIRST)
    recording = first.heard()  # it was there alone at first
    assert recording.heard(SECOND) > TALK_SECONDS - 0.6
    assert recording.gaps(SECOND) == 0.0
    assert recording.heard(FIRST, level=OWN_LEVEL_MAX) < OWN_SECONDS_MAX


def test_three_in_a_conference(cluster: Running, phones: tuple[Baresip, Baresip], tmp_path: Path) -> None:
    first, second = phones
    third = Baresip(tmp_path, "1004", server=cluster.sip, password=cluster.users["1004"], tone=1700.0)
    with third:
        for phone in (first, second, third):
            phone.dial(f"sip:3001@{cluster.sip}")
            phone.wait("CALL_ESTABLISHED")
        talk(third)
        for phone in (first, second, third):
            phone.hang_up()
            phone.wait("CALL_CLOSED")
        for phone in (first, second, third):
            recording = phone.heard()
            for other in (first, second, third):
                if other is phone:
                    assert recording.heard(other.tone, level=OWN_LEVEL_MAX) < OWN_SECONDS_MAX
                else:
                    assert recording.heard(other.tone) > 1.0


def test_unknown_and_absent_users(cluster: Running, phones: tuple[Baresip, Baresip]) -> None:
    first, _ = phones
    first.dial(f"sip:7777@{cluster.sip}")
    assert "404" in first.wait("CALL_CLOSED")["param"]
    first.dial(f"sip:1005@{cluster.sip}")
    assert "480" in first.wait("CALL_CLOSED")["param"]


def test_caller_gives_up(cluster: Running, tmp_path: Path) -> None:
    first = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=FIRST)
    second = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=SECOND, answer="manual")
    with first, second:
        first.dial(f"sip:1002@{cluster.sip}")
        second.wait("CALL_INCOMING")
        first.wait("CALL_RINGING")
        first.hang_up()
        second.wait("CALL_CLOSED")
        first.wait("CALL_CLOSED")


def test_callee_refuses(cluster: Running, tmp_path: Path) -> None:
    first = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=FIRST)
    second = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=SECOND, answer="manual")
    with first, second:
        first.dial(f"sip:1002@{cluster.sip}")
        second.wait("CALL_INCOMING")
        second.hang_up()
        assert "486" in first.wait("CALL_CLOSED")["param"]
