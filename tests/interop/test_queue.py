"""Point 4: a call to 4000 waits with music until member 1003 is free, is offered to it, and is joined with it."""

from pathlib import Path

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.waiting import wait_for

CALLER, MEMBER = 437.0, 2150.0
"""Voices, Hz."""


def test_waits_with_music_until_the_member_is_free(cluster: Running, tmp_path: Path) -> None:
    caller = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=CALLER)
    member = Baresip(tmp_path, "1003", server=cluster.sip, password=cluster.users["1003"], tone=MEMBER)
    with caller, member:
        member.dial(f"sip:9196@{cluster.sip}")
        member.wait("CALL_ESTABLISHED")
        caller.dial(f"sip:4000@{cluster.sip}")
        caller.wait("CALL_ESTABLISHED")
        wait_for(lambda: caller.heard_seconds() > 2.5, name="music at the caller")
        music = caller.heard()
        assert music.sounding() > 1.5
        assert music.heard(MEMBER) < 0.3
        assert not [event for event in member.events if event["type"] == "CALL_INCOMING"], "a busy member was called"
        member.hang_up()
        member.wait("CALL_CLOSED")
        member.wait("CALL_ESTABLISHED", having=lambda event: event["direction"] == "incoming")
        wait_for(lambda: member.heard_seconds() > 3.0, name="the caller's voice at the member")
        caller.hang_up()
        caller.wait("CALL_CLOSED")
        member.wait("CALL_CLOSED")
        assert member.heard().heard(CALLER) > 2.0
        assert member.heard().heard(MEMBER, level=-45.0) < 0.2  # but for edges
        assert caller.heard().heard(MEMBER) > 2.0


def test_a_caller_who_waits_can_leave(cluster: Running, tmp_path: Path) -> None:
    """Nobody answers the queue: the caller hears music and hangs up; then it calls again."""
    caller = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=CALLER)
    with caller:
        for _ in range(2):
            caller.dial(f"sip:4000@{cluster.sip}")
            caller.wait("CALL_ESTABLISHED")
            wait_for(lambda: caller.heard_seconds() > 1.0, name="music at the caller")
            caller.hang_up()
            caller.wait("CALL_CLOSED")
            assert caller.heard().sounding() > 0.5
