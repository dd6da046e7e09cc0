"""Notifications on their way out: gathered, in order, bounded."""

from agent.notices import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_SECONDS, KEPT_BYTES_MAX, KEPT_EVENTS_MAX, Notices


def test_gathered_for_a_moment() -> None:
    notices = Notices()
    assert (notices.deadline(), notices.batch(0)) == (None, None)
    notices.add("a", b"1", 5)
    notices.add("b", b"2", 5.05)
    assert (notices.deadline(), notices.batch(5.05)) == (5 + BATCH_SECONDS, None)
    batch = notices.batch(5 + BATCH_SECONDS)
    assert batch is not None and (batch.events, batch.dropped) == ([("a", b"1"), ("b", b"2")], 0)
    assert (notices.deadline(), notices.batch(9)) == (None, None)


def test_a_full_batch_goes_at_once() -> None:
    notices = Notices()
    for number in range(BATCH_EVENTS_MAX + 1):
        notices.add("a", str(number).encode(), 0)
    first = notices.batch(0)
    assert first is not None and len(first.events) == BATCH_EVENTS_MAX
    assert notices.batch(0) is None
    rest = notices.batch(BATCH_SECONDS)
    assert rest is not None and rest.events == [("a", str(BATCH_EVENTS_MAX).encode())]
    for _ in range(3):
        notices.add("a", bytes(BATCH_BYTES_MAX // 2), 1)
    large = notices.batch(1)
    assert large is not None and len(large.events) == 2


def test_what_does_not_fit_is_dropped_oldest_first_and_counted() -> None:
    notices = Notices()
    for number in range(KEPT_EVENTS_MAX + 5):
        notices.add("a", str(number).encode(), 0)
    batch = notices.batch(1)
    assert batch is not None and (batch.dropped, batch.events[0]) == (5, ("a", b"5"))
    notices = Notices()
    for _ in range(5):
        notices.add("a", bytes(KEPT_BYTES_MAX // 4), 0)
    batch = notices.batch(1)
    assert batch is not None and batch.dropped == 1
