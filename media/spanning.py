"""A room that spans several media processors: a tree of mixes, one trunk leg at each end of each branch.

    members of A - room at A - trunk === trunk - room at B - members of B
                       \\ trunk === trunk - room at C - members of C

Rules:
- A trunk is a leg like any other in the room of its processor: it carries the mix of its side, and by mix-minus never what came over it.
  A tree has no cycles, so everybody is heard once, and no side hears itself again.
- The tree is a star: the first processor is its hub. Each further one costs it one leg, and a packet at most two trunks' delay.
- Processors come and go while the room talks; where the hub goes, the next one becomes it.
- No socket, no clock: the steps are jobs for processors, in order; whoever drives them sends each answer back in.
"""

from collections.abc import Generator
from typing import NamedTuple

from media.control import Accept, Answer, Connect, Done, LegReport, Offer, Proposal, Propose, Release, Request, Room

PROCESSORS_MAX = 64
"""Of one room."""


class Step(NamedTuple):
    """A job for a processor."""

    processor: str
    operation: str
    request: Request


Steps = Generator[Step, Answer | Proposal | Done | LegReport, None]
"""Jobs one after the other; the response of each is sent in. An error of a job is for who drives them: it ends the steps."""


class Span:
    """The processors of one room.

    Args:
        room: its name, the same at all of them.
    """

    def __init__(self, room: str) -> None:
        self.room = room
        self.processors: list[str] = []
        """The hub first."""

    def _trunk(self, here: str, there: str) -> str:
        return f"trunk {self.room} {here} {there}"

    def _link(self, one: str, other: str) -> Steps:
        near, far = self._trunk(one, other), self._trunk(other, one)
        proposal = yield Step(one, "propose", Propose(leg=near, call=self.room))
        assert isinstance(proposal, Proposal)
        answer = yield Step(other, "offer", Offer(leg=far, call=self.room, sdp=proposal.sdp))
        assert isinstance(answer, Answer)
        yield Step(one, "accept", Accept(leg=near, sdp=answer.sdp))
        # Only now: whoever hears the far side is heard by it as well.
        yield Step(other, "connect", Connect(leg=far, to=Room(self.room)))
        yield Step(one, "connect", Connect(leg=near, to=Room(self.room)))

    def add(self, processor: str) -> Steps:
        """Let a processor have members of the room; nothing to do for one that has.

        Raises:
            ValueError: it would be more than `PROCESSORS_MAX`.
        """
        if processor in self.processors:
            return
        if len(self.processors) == PROCESSORS_MAX:
            raise ValueError(f"room {self.room!r}: {PROCESSORS_MAX} processors at most")
        if self.processors:
            yield from self._link(self.processors[0], processor)
        self.processors.append(processor)

    def remove(self, processor: str, dead: bool = False) -> Steps:
        """A processor has no members any more, or is dead: the others go on hearing each other."""
        if processor not in self.processors:
            return
        hub = self.processors[0]
        others = [each for each in self.processors if each != processor]
        self.processors = others
        for each in others if processor == hub else [hub]:
            yield Step(each, "release", Release(leg=self._trunk(each, processor)))
            if not dead:
                yield Step(processor, "release", Release(leg=self._trunk(processor, each)))
        if processor == hub:
            for each in others[1:]:
                yield from self._link(others[0], each)
