"""Sessions of a machine, with clocks that jump and controllers that change."""

import random

import pytest

from agent.conversation import ASK_SECONDS_MAX, HINT_SECONDS_MIN, SILENCE_SECONDS, Conversation
from agent.wire import topics
from agent.wire.envelope import Envelope
from agent.wire.keys import Identity, MachineKeys
from agent.wire.messages import Beat, Heads, SnapshotRequest, UnitConfiguration
from agent.wire.opener import Opener, Recipient, seal_state
from agent.wire.session import Sessions, answer_session

CONTROLLER = Identity.generate()
KEYS = MachineKeys.generate()
WALL = 1_800_000_000.0


class Far:
    """The controller's side."""

    def __init__(self, term: int = 1) -> None:
        self.term = term
        self.sessions = Sessions()
        self.opener = Opener(
            cluster="c",
            recipient=topics.CONTROLLER,
            sender=KEYS.identity.id,
            sender_public=KEYS.identity.public,
            channel=self.sessions.channel,
            term=term,
        )

    def answer(self, request: Envelope, now: float) -> Envelope:
        asked = self.opener.open(request, now)
        session, answer = answer_session(asked.message, request, asked.header, CONTROLLER, KEYS.security.public, self.term, now)
        self.sessions.offer(session)
        return answer

    def hear(self, envelope: Envelope | None, now: float) -> object:
        assert envelope is not None
        opened = self.opener.open(envelope, now)
        self.sessions.opened(opened.header.session)
        return opened.message


def conversation(now: float = 0.0, wall: float = WALL, term: int = 0) -> Conversation:
    return Conversation(
        keys=KEYS, cluster="c", controller_public=CONTROLLER.public, term=term, now=now, wall=lambda: wall, rng=random.Random(1)
    )


def join(talk: Conversation, far: Far, now: float, clock: float = WALL) -> None:
    talk.timeout(now)
    (request,) = talk.outbox
    talk.outbox.clear()
    assert talk.hear(far.answer(request, clock), now) is None
    assert talk.joined
    talk.joined = False
    assert far.hear(talk.say(Beat(revision=1), now), clock) == Beat(revision=1)


def test_asks_until_it_is_answered() -> None:
    talk = conversation()
    assert (talk.deadline(), talk.say(Beat(revision=1), 0)) == (0, None)
    now = last = 0.0
    for _ in range(12):
        talk.timeout(now)
        last, now = now, talk.deadline()
    assert ASK_SECONDS_MAX <= now - last <= ASK_SECONDS_MAX * 1.25
    assert len(set(talk.outbox)) == 1
    talk.request(SnapshotRequest(number=1, have={}), now)
    assert len(talk.outbox) == 12


def test_repeated_requests_and_answers_make_one_session() -> None:
    talk, far = conversation(), Far()
    for now in (0.0, 1.0, 2.0):
        talk.timeout(now)
    answers = [far.answer(request, WALL) for request in talk.outbox]
    for answer in answers:
        talk.hear(answer, 3)
    assert far.hear(talk.say(Beat(revision=1), 3), WALL) == Beat(revision=1)
    talk.request(SnapshotRequest(number=1, have={}), 3)
    assert far.hear(talk.outbox[-1], WALL) == SnapshotRequest(number=1, have={})


def test_the_controllers_clock_counts() -> None:
    """This machine's clock is an hour wrong; nothing expires because of it."""
    talk, far = conversation(wall=WALL - 3600), Far()
    join(talk, far, 10)
    assert talk.clock(15) == WALL + 5
    assert far.sessions.current is not None
    heads = far.sessions.current.say.seal(Heads(heads={}), WALL + 5)
    opened = talk.hear(heads, 15)
    assert opened is not None and opened.message == Heads(heads={})
    late = far.sessions.current.say.seal(Heads(heads={}), WALL + 5)
    assert talk.hear(late, 15 + 61) is None
    assert talk.refusals["expired"] == 1


def test_silence_makes_a_new_session_and_the_old_one_is_still_understood() -> None:
    talk, far = conversation(), Far()
    join(talk, far, 0)
    old = far.sessions.current
    assert old is not None and talk.deadline() == SILENCE_SECONDS
    talk.timeout(SILENCE_SECONDS)
    (request,) = talk.outbox
    talk.outbox.clear()
    talk.hear(far.answer(request, WALL), SILENCE_SECONDS)
    opened = talk.hear(old.say.seal(Heads(heads={"a": 1}), WALL), SILENCE_SECONDS)
    assert opened is not None
    assert far.hear(talk.say(Beat(revision=2), SILENCE_SECONDS), WALL) == Beat(revision=2)
    assert far.sessions.current is not old


def test_a_hint_hurries_but_not_often() -> None:
    talk, far = conversation(), Far()
    join(talk, far, 0)
    talk.hint(1)
    due = talk.deadline()
    assert 1 <= due <= 1.5
    talk.hint(1.2)
    assert talk.deadline() == due
    talk.timeout(due)
    talk.hear(far.answer(talk.outbox.pop(), WALL), due)
    talk.hint(1.9)
    assert talk.deadline() == due + SILENCE_SECONDS
    talk.hint(1 + HINT_SECONDS_MIN)
    assert talk.deadline() <= 1 + HINT_SECONDS_MIN + 0.5


def test_a_newer_controller_takes_over_and_the_older_one_is_out() -> None:
    talk, first, second = conversation(), Far(term=1), Far(term=2)
    join(talk, first, 0)
    talk.hint(5)
    talk.timeout(6)
    stale = Far(term=1).answer(talk.outbox[0], WALL)
    talk.hear(second.answer(talk.outbox[0], WALL), 6)
    assert (talk.term, talk.joined) == (2, True)
    assert talk.hear(stale, 6) is None
    assert first.sessions.current is not None
    assert talk.hear(first.sessions.current.say.seal(Heads(heads={}), WALL), 6) is None
    assert talk.refusals == {"stale-term": 2}


def test_a_stranger_opens_no_session() -> None:
    talk, far = conversation(), Far()
    talk.timeout(0)
    answer = far.answer(talk.outbox[0], WALL)
    assert talk.hear(answer._replace(signature=bytes(64)), 0) is None
    assert talk.hear(answer._replace(body=answer.body[:-1]), 0) is None
    assert (talk.refusals, talk.session) == ({"bad-signature": 2}, None)
    talk.hear(answer, 0)
    assert talk.session is not None
    before = talk.session
    talk.hear(answer, 0)
    assert talk.session is before


@pytest.mark.parametrize("wall", [WALL, WALL + 10**8])
def test_stored_states_open_whatever_the_clock_says(wall: float) -> None:
    state = UnitConfiguration(unit="u", body=b"")
    kept = seal_state(CONTROLLER, "c", 1, Recipient(KEYS.identity.id, KEYS.security.public), "u", 1, state, WALL)
    talk = conversation(wall=wall, term=9)
    opened = talk.open_stored(kept)
    assert opened is not None and opened.message == state
    assert talk.open_stored(kept._replace(body=b"x")) is None
    assert talk.refusals == {"bad-signature": 1}
