"""Calls as their routers report them."""

from controller.calls import Calls


def test_a_call_from_its_start_to_its_end() -> None:
    calls = Calls()
    calls.take("call-router-1", {"event": "call-started", "call": "a", "caller": "1001"}, 1.0)
    calls.take("call-router-1", {"event": "call-answered", "call": "a", "by": "echo"}, 2.0)
    (call,) = calls.active()
    assert (call.router, call.state, call.since, call.detail) == ("call-router-1", "call-answered", 2.0, {"caller": "1001", "by": "echo"})
    calls.take("call-router-1", {"event": "call-ended", "call": "a", "cause": "bye"}, 3.0)
    assert (calls.active(), [call.state for call in calls.ended()], calls.total) == ([], ["call-ended"], 1)


def test_what_a_queue_says_of_a_call_does_not_change_it() -> None:
    calls = Calls()
    calls.take("call-router-1", {"event": "call-answered", "call": "a"}, 1.0)
    assert calls.take("call-queue-1", {"event": "queue-offer-ended", "call": "a", "queue": "4000"}, 2.0) is None
    (call,) = calls.active()
    assert (call.router, call.state, call.since) == ("call-router-1", "call-answered", 1.0)


def test_rooms_are_where_their_calls_are() -> None:
    calls = Calls()
    for name, room in (("a", "3000"), ("b", "3000"), ("c", "3001")):
        calls.take("call-router-1", {"event": "call-started", "call": name}, 1.0)
        calls.take(
            "call-router-1",
            {"event": "call-room", "call": name, "state": "call-started", "room": room, "processor": f"media-{name}", "hub": "media-a"},
            2.0,
        )
        calls.take("call-router-1", {"event": "call-answered", "call": name}, 3.0)
    assert {room: [call.detail["processor"] for call in found] for room, found in calls.rooms().items()} == {
        "3000": ["media-a", "media-b"],
        "3001": ["media-c"],
    }
    calls.take("call-router-1", {"event": "call-ended", "call": "c"}, 4.0)
    assert set(calls.rooms()) == {"3000"} and {call.state for call in calls.active()} == {"call-answered"}


def test_what_is_not_about_a_call() -> None:
    calls = Calls()
    for event in ({"event": "dependents"}, {"call": "a"}, {"event": 1, "call": "a"}, {"event": "call-started", "call": 7}):
        assert calls.take("call-router-1", event, 1.0) is None
    assert calls.total == 0


def test_calls_of_a_router_that_is_no_more_are_lost() -> None:
    calls = Calls()
    calls.take("call-router-1", {"event": "call-started", "call": "a"}, 1.0)
    calls.take("call-router-2", {"event": "call-started", "call": "b"}, 1.0)
    calls.lost(["call-router-1"], 2.0)
    assert [call.id for call in calls.active()] == ["b"]
    assert [(call.id, call.state) for call in calls.ended()] == [("a", "lost")]
