"""Resolutions under way: each one's questions go to the resolver, their answers back to it (`telephony.sip.resolution`).

Bounds: `RESOLUTIONS_MAX` at a time, `RESOLUTION_SECONDS` each; what is beyond them has failed.
"""

from collections.abc import Callable, Sequence

from telephony.dns.resolver import Resolver
from telephony.sip import resolution
from telephony.sip.resolution import Answer, Located, Question, Resolution, Sought
from telephony.sip.timers import Timer, cancel

RESOLUTIONS_MAX = 1000
RESOLUTION_SECONDS = 8.0

_FAILED = Located([], failed=True)
Done = Callable[[Located, float], None]


class _Running:
    """One resolution."""

    __slots__ = ("answers", "done", "missing", "stepping", "steps", "timer")

    def __init__(self, steps: Resolution, done: Done) -> None:
        self.steps = steps
        self.done: Done | None = done
        """None: it is over."""
        self.answers: list[Answer] = []
        self.missing = 0
        self.stepping = False
        self.timer: Timer | None = None


class Locator:
    """Finds where things are reached.

    Args:
        random: ``random(n)`` is one of 0 to n - 1.
    """

    def __init__(self, resolver: Resolver, random: Callable[[int], int]) -> None:
        self._resolver = resolver
        self._random = random
        self._running = 0

    def locate(self, sought: Sought, transports: Sequence[str], families: Sequence[str], now: float, done: Done) -> None:
        """``done(located, now)`` is called once, at once where all is known."""
        if self._running >= RESOLUTIONS_MAX:
            done(_FAILED, now)
            return
        running = _Running(resolution.hops(sought, transports, families, self._random), done)
        self._running += 1
        running.timer = self._resolver.timers.start(now, RESOLUTION_SECONDS, lambda now: self._finish(running, _FAILED, now))
        self._step(running, None, now)

    def _step(self, running: _Running, answers: list[Answer] | None, now: float) -> None:
        """Go on as long as every answer is there."""
        running.stepping = True
        try:
            while True:
                questions = next(running.steps) if answers is None else running.steps.send(answers)
                running.answers = answers = [Answer(resolution.FAILED)] * len(questions)
                running.missing = len(questions)
                for position, question in enumerate(questions):
                    self._ask(running, position, question, now)
                if running.missing:
                    break
        except StopIteration as stop:
            self._finish(running, stop.value, now)
        running.stepping = False

    def _ask(self, running: _Running, position: int, question: Question, now: float) -> None:
        def answered(answer: Answer, now: float) -> None:
            running.answers[position] = answer
            running.missing -= 1
            if not running.missing and not running.stepping and running.done is not None:
                self._step(running, running.answers, now)

        self._resolver.ask(question, now, answered)

    def _finish(self, running: _Running, located: Located, now: float) -> None:
        done, running.done = running.done, None
        if done is not None:
            cancel(running.timer)
            self._running -= 1
            done(located, now)
