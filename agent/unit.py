"""One unit of a machine, from the moment it is wanted until it is gone: the state machine of starting, running, draining,
replacing and ending a service. It starts no process; it says what is to be done (`Action`), and its shell tells what happened.

The table below is complete: a pair that is not in it changes nothing.

| state | meaning | leaves by itself |
| --- | --- | --- |
| FETCHING | its bundle is not here, verified, yet | - |
| STARTING | a process runs and has not said ready | after `START_SECONDS_MAX` since it was configured: killed |
| HEALTHY | ready, takes work | silent for `WATCHDOG_SECONDS`: killed |
| DRAINING | takes no new work | when nothing is left, or the time is over: stopped |
| ENDING | told to end or killed; will be started again | after `STOP_SECONDS_MAX`: killed |
| STOPPING | told to stop for good | after `STOP_SECONDS_MAX`: killed |
| BACKOFF | no process; the next start waits | at once after the first failure, then 0.1 s doubling to 5 s |
| STOPPED | no process, none wanted | - |

Rules:
- Failures in a row count; `SETTLED_SECONDS` of health forget them.
- A drain that is taken back before the process was told to stop leaves it running: a revert never ends what is healthy.
- What drains is not started again after a crash: its work is gone. With a standby that takes over it is not.
- A standby takes over from a process that died or was killed for its silence, `TAKE_OVERS_MAX` times in a row: what made them die may
  lie in what it takes over.
"""

from enum import Enum, auto

from agent.wire.messages import Unit, UnitReport

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 3.0
WATCHDOG_SECONDS = 10.0
DRAIN_SETTLE_SECONDS = 0.5
"""A drained unit that says at once that nothing is left is believed after this: new work may have been on its way."""
DRAIN_GRACE_SECONDS = 2.0
"""Past its deadline a unit has this to end its calls properly."""
SETTLED_SECONDS = 30.0
BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 5.0
MESSAGE_CHARACTERS_MAX = 500
TAKE_OVERS_MAX = 3
"""Failures in a row after which a unit starts afresh."""


class State(Enum):
    """Where a unit is."""

    FETCHING = auto()
    STARTING = auto()
    HEALTHY = auto()
    DRAINING = auto()
    ENDING = auto()
    STOPPING = auto()
    BACKOFF = auto()
    STOPPED = auto()


class Input(Enum):
    """What happened."""

    BUNDLE = auto()
    """Its bundle is here, verified."""
    READY = auto()
    EXITED = auto()
    REPLACED = auto()
    """Its process is gone, and a warm standby is its process now."""
    DRAIN = auto()
    """It shall take no new work (or its time to do so was changed)."""
    UNDRAIN = auto()
    """It shall take work again."""
    REMOVED = auto()
    """It is not wanted any more."""
    CHANGED = auto()
    """It shall run from other software, with other arguments or sockets."""
    SILENT = auto()
    """The watchdog was not fed."""
    EMPTY = auto()
    """Draining, and nothing is left."""
    TIMEOUT = auto()
    """The state's own time is over."""


class Action(Enum):
    """What the shell has to do, in order."""

    FETCH = auto()
    """Get the bundle, then say so."""
    START = auto()
    """Start a process and configure it."""
    TAKE_OVER = auto()
    """Tell the process that was the standby to go on."""
    DRAIN = auto()
    UNDRAIN = auto()
    STOP = auto()
    """Tell the process to stop now."""
    KILL = auto()
    """SIGKILL to its group."""
    CLEAR = auto()
    """It is gone for good: give back what it held (sockets, folders)."""


_S, _I, _A = State, Input, Action
TABLE: dict[tuple[State, Input], tuple[State, tuple[Action, ...]]] = {
    (_S.FETCHING, _I.BUNDLE): (_S.STARTING, (_A.START,)),
    (_S.FETCHING, _I.CHANGED): (_S.FETCHING, (_A.FETCH,)),
    (_S.FETCHING, _I.DRAIN): (_S.STOPPED, ()),
    (_S.FETCHING, _I.REMOVED): (_S.STOPPED, (_A.CLEAR,)),
    (_S.STARTING, _I.READY): (_S.HEALTHY, ()),
    (_S.STARTING, _I.EXITED): (_S.BACKOFF, ()),
    (_S.STARTING, _I.CHANGED): (_S.ENDING, (_A.STOP,)),
    (_S.STARTING, _I.DRAIN): (_S.STOPPING, (_A.STOP,)),
    (_S.STARTING, _I.REMOVED): (_S.STOPPING, (_A.STOP,)),
    (_S.STARTING, _I.TIMEOUT): (_S.ENDING, (_A.KILL,)),
    (_S.HEALTHY, _I.EXITED): (_S.BACKOFF, ()),
    (_S.HEALTHY, _I.REPLACED): (_S.STARTING, (_A.TAKE_OVER,)),
    (_S.HEALTHY, _I.CHANGED): (_S.ENDING, (_A.STOP,)),
    (_S.HEALTHY, _I.DRAIN): (_S.DRAINING, (_A.DRAIN,)),
    (_S.HEALTHY, _I.REMOVED): (_S.STOPPING, (_A.STOP,)),
    (_S.HEALTHY, _I.SILENT): (_S.ENDING, (_A.KILL,)),
    (_S.DRAINING, _I.EXITED): (_S.STOPPED, ()),
    (_S.DRAINING, _I.REPLACED): (_S.DRAINING, (_A.TAKE_OVER, _A.DRAIN)),
    (_S.DRAINING, _I.CHANGED): (_S.STOPPING, (_A.STOP,)),
    (_S.DRAINING, _I.DRAIN): (_S.DRAINING, (_A.DRAIN,)),
    (_S.DRAINING, _I.UNDRAIN): (_S.HEALTHY, (_A.UNDRAIN,)),
    (_S.DRAINING, _I.REMOVED): (_S.STOPPING, (_A.STOP,)),
    (_S.DRAINING, _I.SILENT): (_S.STOPPING, (_A.KILL,)),
    (_S.DRAINING, _I.EMPTY): (_S.STOPPING, (_A.STOP,)),
    (_S.DRAINING, _I.TIMEOUT): (_S.STOPPING, (_A.STOP,)),
    (_S.ENDING, _I.EXITED): (_S.BACKOFF, ()),
    (_S.ENDING, _I.REPLACED): (_S.STARTING, (_A.TAKE_OVER,)),
    (_S.ENDING, _I.DRAIN): (_S.STOPPING, ()),
    (_S.ENDING, _I.REMOVED): (_S.STOPPING, ()),
    (_S.ENDING, _I.TIMEOUT): (_S.ENDING, (_A.KILL,)),
    (_S.STOPPING, _I.EXITED): (_S.STOPPED, ()),
    (_S.STOPPING, _I.UNDRAIN): (_S.ENDING, ()),
    (_S.STOPPING, _I.TIMEOUT): (_S.STOPPING, (_A.KILL,)),
    (_S.BACKOFF, _I.TIMEOUT): (_S.FETCHING, (_A.FETCH,)),
    (_S.BACKOFF, _I.DRAIN): (_S.STOPPED, ()),
    (_S.BACKOFF, _I.REMOVED): (_S.STOPPED, (_A.CLEAR,)),
    (_S.STOPPED, _I.UNDRAIN): (_S.FETCHING, (_A.FETCH,)),
    (_S.STOPPED, _I.REMOVED): (_S.STOPPED, (_A.CLEAR,)),
}

_REPORTED = {
    State.FETCHING: "fetching",
    State.STARTING: "starting",
    State.HEALTHY: "healthy",
    State.DRAINING: "draining",
    State.ENDING: "failed",
    State.STOPPING: "draining",
    State.BACKOFF: "failed",
    State.STOPPED: "stopped",
}
_ALIVE = (State.STARTING, State.HEALTHY, State.DRAINING, State.ENDING, State.STOPPING)


class UnitMachine:
    """One unit. Times are seconds of a clock that only grows."""

    def __init__(self, spec: Unit, now: float) -> None:
        self.spec = spec
        self.state = State.FETCHING
        self.wanted = True
        """False: it goes, and is forgotten when it has stopped."""
        self.restarts = 0
        self.failures = 0
        """In a row."""
        self.pid = 0
        self.remaining = 0
        self.applied = 0
        """Generation of the configuration that its process has applied."""
        self.message = ""
        self._actions: list[Action] = [Action.FETCH]
        self._healthy_since = now
        self._fed_at = now
        self._state_deadline: float | None = None
        self._drained_at = now
        self._planned = False
        if spec.drain_seconds is not None:
            self._feed(Input.DRAIN, now)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def alive(self) -> bool:
        """Whether it has a process, or is just getting one."""
        return self.state in _ALIVE

    @property
    def gone(self) -> bool:
        """Not wanted, and nothing of it is left."""
        return not self.wanted and self.state is State.STOPPED

    def take(self) -> list[Action]:
        """What to do since the last call, in order."""
        actions, self._actions = self._actions, []
        return actions

    def report(self) -> UnitReport:
        """What the controller hears of it."""
        state = _REPORTED[self.state]
        if self.state is State.ENDING and self._planned:
            state = "starting"
        if self.state is State.FETCHING and self.message:
            state = "failed"
        return UnitReport(
            id=self.id,
            state=state,  # type: ignore[arg-type]
            configuration_generation=self.applied,
            remaining=self.remaining,
            restarts=self.restarts,
            pid=self.pid,
            message=self.message,
        )

    def want(self, spec: Unit | None, now: float) -> None:
        """What the document says of it now; None: nothing, so it goes."""
        if spec is None:
            if self.wanted:
                self.wanted = False
                self._feed(Input.REMOVED, now)
            return
        before, self.spec = self.spec, spec
        if (before.bundle, before.entry, before.arguments, before.sockets, before.state, before.memory, before.standby) != (
            spec.bundle,
            spec.entry,
            spec.arguments,
            spec.sockets,
            spec.state,
            spec.memory,
            spec.standby,
        ):
            self._planned = True
            self._feed(Input.CHANGED, now)
        if spec.drain_seconds is None and before.drain_seconds is not None:
            self._feed(Input.UNDRAIN, now)
        elif spec.drain_seconds is not None and spec.drain_seconds != before.drain_seconds:
            self._feed(Input.DRAIN, now)

    def bundle(self, now: float) -> None:
        """Its bundle is here."""
        self._feed(Input.BUNDLE, now)

    def bundle_failed(self, message: str) -> None:
        """Its bundle cannot be had; it stays wanted."""
        if self.state is State.FETCHING:
            self.message = message[:MESSAGE_CHARACTERS_MAX]

    def started(self, pid: int) -> None:
        """Its process runs."""
        self.pid = pid

    def configured(self, now: float) -> None:
        """Its process was sent a configuration: from now on it has its time to become ready."""
        if self.state is State.STARTING:
            self._state_deadline = now + START_SECONDS_MAX

    def ready(self, now: float) -> None:
        """READY=1."""
        self._feed(Input.READY, now)

    def fed(self, now: float) -> None:
        """WATCHDOG=1, or another sign of life."""
        self._fed_at = now

    def forgive(self, now: float) -> None:
        """The judge was late itself: the watchdog begins anew."""
        self._fed_at = now

    def left(self, remaining: int) -> None:
        """It still carries so much work."""
        self.remaining = remaining

    def exited(self, message: str, now: float) -> None:
        """Its process is gone, or could not be started; ``message`` says why, for people."""
        self._lost(message, now)
        self._feed(Input.EXITED, now)

    def can_be_replaced(self, now: float) -> bool:
        """Whether a standby may go on where its process left off."""
        self._settle(now)
        alive = self.state in (State.HEALTHY, State.DRAINING) or (self.state is State.ENDING and not self._planned)
        return alive and self.wanted and self.failures < TAKE_OVERS_MAX

    def replaced(self, pid: int, message: str, now: float) -> None:
        """Its process is gone, as for `exited`, and the standby ``pid`` is its process now."""
        remaining = self.remaining
        self._lost(message, now)
        if self.state is State.DRAINING:
            self.restarts += 1
        # The work goes on with it.
        self.pid, self.remaining, self._fed_at, self._drained_at = pid, remaining, now, now
        self._feed(Input.REPLACED, now)

    def _settle(self, now: float) -> None:
        """Long health forgets failures."""
        if self.state is State.HEALTHY and now - self._healthy_since >= SETTLED_SECONDS:
            self.failures = 0

    def _lost(self, message: str, now: float) -> None:
        self.pid = self.remaining = self.applied = 0
        if self.state in (State.STARTING, State.HEALTHY) or (self.state is State.ENDING and not self._planned):
            self._settle(now)
            self.failures += 1
            self.restarts += 1
            self.message = self.message if self.state is State.ENDING else message[:MESSAGE_CHARACTERS_MAX]

    def timeout(self, now: float) -> None:
        """Time has passed."""
        if self.state in (State.HEALTHY, State.DRAINING) and now >= self._fed_at + WATCHDOG_SECONDS:
            self.message = f"silent for {WATCHDOG_SECONDS:.0f} s"
            self._settle(now)
            self._feed(Input.SILENT, now)
        elif self._empty_at() is not None and now >= (self._empty_at() or 0.0):
            self._feed(Input.EMPTY, now)
        elif self._state_deadline is not None and now >= self._state_deadline:
            if self.state is State.STARTING:
                self.message = f"not ready within {START_SECONDS_MAX:.0f} s"
            self._feed(Input.TIMEOUT, now)

    def deadline(self) -> float | None:
        """When `timeout` is wanted; None: not."""
        candidates = [self._state_deadline, self._empty_at()]
        if self.state in (State.HEALTHY, State.DRAINING):
            candidates.append(self._fed_at + WATCHDOG_SECONDS)
        return min((each for each in candidates if each is not None), default=None)

    def _empty_at(self) -> float | None:
        if self.state is State.DRAINING and self.remaining == 0:
            return self._drained_at + DRAIN_SETTLE_SECONDS
        return None

    def _feed(self, happened: Input, now: float) -> None:
        step = TABLE.get((self.state, happened))
        if step is None:
            return
        before = self.state
        self.state, actions = step
        self._actions.extend(actions)
        self._enter(before, now)
        if self.state is State.STOPPED and not self.wanted and Action.CLEAR not in actions:
            self._actions.append(Action.CLEAR)

    def _enter(self, before: State, now: float) -> None:
        """What goes with the state that was entered."""
        self._state_deadline = None
        match self.state:
            case State.STARTING:
                self._planned = False
            case State.HEALTHY:
                self._fed_at = now
                if before is State.STARTING:
                    self._healthy_since = now
                    self.message = ""
            case State.DRAINING:
                if before is State.HEALTHY:
                    self._drained_at = now
                self._state_deadline = now + (self.spec.drain_seconds or 0.0) + DRAIN_GRACE_SECONDS
            case State.ENDING | State.STOPPING:
                if before is State.STOPPING:
                    self._planned = True
                self._state_deadline = now + STOP_SECONDS_MAX
            case State.BACKOFF:
                self._state_deadline = now + (0.0 if self._planned else self.backoff())

    def backoff(self) -> float:
        """Seconds before the next start: none after the first failure in a row."""
        if self.failures <= 1:
            return 0.0
        return float(min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_FIRST * 2 ** min(self.failures - 2, 10)))
