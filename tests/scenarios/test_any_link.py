"""Whatever a link does, and whatever people do meanwhile: in the end nothing is left in any core.

Two phones, a proxy and a call router with what it asks, all of them real; hypothesis draws what is done when, and what becomes of
each message: delivered once, several times, late (so that others overtake it), or never, for a while even none at all. Then everybody
hangs up, over the same link, and after the longest timer there is no transaction, timer, forwarding, call, leg or job.
"""

import contextlib
import heapq
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.effects import Send
from telephony.sip.errors import StateError
from telephony.sip.events import Event
from tests.scenarios.phone import Phone
from tests.scenarios.runner import act
from tests.scenarios.world import World

MESSAGES_MAX = 150
"""Of these the fate is drawn; what comes later arrives."""
EXAMPLES = 80
SESSION_SECONDS = 4000.0
"""A party that heard no BYE is found out by the session timer."""

Fates = dict[int, tuple[float, ...]]
"""Number of a message to how late each copy of it is, in seconds."""

LATE = st.sampled_from([0.0, 0.02, 0.3, 0.6, 2.0, 5.0, 20.0, 40.0])
FATES: st.SearchStrategy[Fates] = st.dictionaries(
    st.integers(0, MESSAGES_MAX), st.lists(LATE, max_size=3).map(tuple), max_size=MESSAGES_MAX // 3
)
DARK = st.lists(st.tuples(st.integers(0, MESSAGES_MAX), st.integers(1, 40)), max_size=1)
"""From which message on how many are lost in a row."""
OPENINGS = (
    ("alice calls bob", "bob rings", "bob answers"),
    ("alice calls bob without an offer", "bob rings reliably", "bob answers", "alice acknowledges with an answer"),
    ("alice calls bob", "bob sends early media reliably", "bob answers"),
    ("alice calls bob", "bob rings", "alice cancels", "bob answers"),
    ("alice calls bob", "bob rings", "bob refuses with 486"),
    ("alice calls 9196",),
    ("bob watches the dialog of alice", "alice calls 9196"),
    ("alice calls 3001", "bob calls 3001"),
    ("alice calls bob", "bob rings", "bob answers", "alice transfers to 9196"),
    ("bob calls alice", "alice calls bob", "bob rings", "alice answers"),
)
ACTIONS = (
    "alice calls bob",
    "bob calls 9196",
    "alice sends bob the message hello",
    "alice registers",
    "bob watches the dialog of alice",
    "bob watches nobody any more",
    *(
        f"{name} {does}"
        for name in ("alice", "bob")
        for does in (
            "answers",
            "cancels",
            "hangs up",
            "changes the session",
            "changes the session without an offer",
            "updates the session",
            "holds",
            "agrees to the change",
            "refuses the change with 488",
            "transfers to 9196",
            "says hello",
            "sends the digit 5",
            "accepts the request",
            "acknowledges with an answer",
        )
    ),
)
GAP = st.sampled_from([0.05, 0.0, 0.0015, 0.5, 2.0, 40.0])
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), GAP), max_size=10)


class Link(World):
    """A world whose messages have their fates."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            [
                "alice phone 1001 behind edge",
                "bob phone 1002 behind edge",
                "edge proxy in front of router, users 1001 1002",
                "router call router",
            ],
            folder,
        )
        self.fates: Fates | None = None
        """None: all arrive."""
        self._number = 0

    def _send(self, source: tuple[str, int], effect: Send) -> None:
        if self.fates is None:
            super()._send(source, effect)
            self.sent.clear()
            return
        target = effect.flow.host, effect.flow.port
        for late in self.fates.get(self._number, (0.0,)):
            self._count += 1
            heapq.heappush(self._flying, (self.now + 0.001 + late, self._count, source, target, effect.data))
        self._number += 1

    def left(self) -> list[str]:
        """What is left anywhere; nothing, but bindings."""
        found: dict[str, object] = {"messages": self.sent, "flying": self._flying, "jobs": self._jobs}
        for name, phone in self.phones.items():
            endpoint = phone.endpoint
            found |= {f"{name}'s sessions": endpoint.sessions, f"{name}'s subscriptions": len(endpoint.subscriptions)}
            found |= {f"{name}'s transactions": [*endpoint.transactions.clients, *endpoint.transactions.servers]}
            found[f"{name}'s timers"] = phone.deadline()
        for name, proxy in self.proxies.items():
            found |= {f"{name}'s transactions": [*proxy.transactions.clients, *proxy.transactions.servers]}
            found |= {f"{name}'s work": proxy.remaining(), f"{name}'s lookups": proxy._lookups, f"{name}'s timers": proxy.deadline()}
        for name, router in self.routers.items():
            assert router._desk is not None
            endpoint = router._desk.endpoint
            found |= {f"{name}'s sessions": endpoint.sessions, f"{name}'s calls": router.remaining(), f"{name}'s jobs": router._desk._asked}
            found |= {f"{name}'s transactions": [*endpoint.transactions.clients, *endpoint.transactions.servers]}
            found |= {f"{name}'s subscriptions": len(endpoint.subscriptions), f"{name}'s timers": router.deadline()}
        found["legs"] = self._dependents["media_processor"].remaining()
        return [f"{name}: {what}" for name, what in found.items() if what]


@contextlib.contextmanager
def link() -> Iterator[Link]:
    """A world in which both phones are registered."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        world = Link(Path(folder))
        try:
            for name in world.phones:
                act(world, f"{name} registers")
            world.run(40.0)
            assert not world.left()
            yield world
        finally:
            world.close()


def hang_up(world: Link) -> None:
    """Everybody answers what is asked, hangs up, and watches nobody any more."""
    for name, phone in world.phones.items():
        act(world, f"{name} watches nobody any more")
        answer_all(phone, phone.events, world.now)
        for session in list(phone.endpoint.sessions.values()):
            session.end(now=world.now)


def answer_all(phone: Phone, events: list[Event], now: float) -> None:
    for event in events:
        request = getattr(event, "request", None)
        if request is not None and hasattr(request, "respond") and not request.answered:
            request.respond(200, now=now)


@settings(max_examples=EXAMPLES)
@given(opening=st.sampled_from(OPENINGS), gaps=st.lists(GAP, min_size=4, max_size=4), steps=STEPS, fates=FATES, dark=DARK)
def test_nothing_is_left_whatever_the_link_does(
    opening: tuple[str, ...], gaps: list[float], steps: list[tuple[str, float]], fates: Fates, dark: list[tuple[int, int]]
) -> None:
    with link() as world:
        world.fates = {**fates, **{number: () for start, count in dark for number in range(start, start + count)}}
        for action, gap in [*zip(opening, gaps, strict=False), *steps]:
            with contextlib.suppress(StateError, AssertionError):  # that makes no sense now
                act(world, action)
            world.run(gap)
        hang_up(world)
        world.run(60.0)
        hang_up(world)  # what has come late
        world.fates = None
        world.run(SESSION_SECONDS)
        hang_up(world)
        world.run(400.0)
        world.sent.clear()
        assert world.left() == []


def test_what_is_left_is_seen() -> None:
    """The test above could fail."""
    with link() as world:
        act(world, "alice calls 9196")
        world.run(1.0)
        assert {line.partition(":")[0] for line in world.left()} >= {"alice's sessions", "alice's timers", "router's calls", "legs"}
