"""What goes wrong elsewhere, as SIP statuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.call_router import failure


@pytest.mark.parametrize(
    ("kind", "status", "result"),
    [
        ("routing", "not-found", 404),
        ("routing", "not-registered", 480),
        ("routing", "loop", 482),
        ("media_processor", "not-acceptable", 488),
        ("media_processor", "bad-sdp", 400),
        ("media_processor", "full", 503),
        ("call_queue", "full", 486),
        ("resource_database", "timeout", 503),
        ("routing", "unavailable", 503),
        ("routing", "fault", 500),
        ("telepathy", "not-found", 500),
    ],
)
def test_of_jobs(kind: str, status: str, result: int) -> None:
    assert failure.of_job(kind, status) == result


@pytest.mark.parametrize(
    ("status", "result"), [(302, 480), (401, 480), (407, 480), (420, 502), (481, 502), (486, 486), (503, 503), (603, 603)]
)
def test_of_peers(status: int, result: int) -> None:
    assert failure.of_peer(status) == result


@pytest.mark.parametrize(
    ("one", "other", "result"), [(486, 503, 486), (404, 486, 486), (480, 404, 404), (603, 486, 603), (603, 600, 603), (503, 500, 503)]
)
def test_the_better_of_two(one: int, other: int, result: int) -> None:
    assert failure.better(one, other) == result


@given(st.integers(300, 699), st.integers(300, 699))
def test_it_is_one_of_the_two_and_of_the_better_class(one: int, other: int) -> None:
    best = failure.better(one, other)
    assert best in (one, other)
    if max(one, other) < 600:
        assert best // 100 == min(one, other) // 100
