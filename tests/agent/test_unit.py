"""The state machine of one unit: its table, its times, and what it never does."""

from hypothesis import given
from hypothesis import strategies as st

from agent.unit import (
    BACKOFF_SECONDS_MAX,
    DRAIN_GRACE_SECONDS,
    DRAIN_SETTLE_SECONDS,
    SETTLED_SECONDS,
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    TABLE,
    TAKE_OVERS_MAX,
    WATCHDOG_SECONDS,
    Action,
    Input,
    State,
    UnitMachine,
)
from agent.wire.messages import Socket, Unit

SPEC = Unit(id="u-1", bundle="b", entry="e", arguments=[])


def spec(**changes: object) -> Unit:
    fields = {name: getattr(SPEC, name) for name in SPEC.__struct_fields__}
    return Unit(**{**fields, **changes})


def running(now: float = 0.0) -> UnitMachine:
    machine = UnitMachine(SPEC, now)
    machine.bundle(now)
    machine.started(77)
    machine.configured(now)
    machine.ready(now)
    machine.take()
    return machine


def test_from_wanted_to_gone() -> None:
    machine = UnitMachine(SPEC, 0)
    assert (machine.report().state, machine.take()) == ("fetching", [Action.FETCH])
    machine.bundle(1)
    machine.started(77)
    assert (machine.report().state, machine.report().pid, machine.take()) == ("starting", 77, [Action.START])
    assert machine.deadline() is None
    machine.configured(2)
    assert machine.deadline() == 2 + START_SECONDS_MAX
    machine.ready(3)
    assert (machine.report().state, machine.deadline()) == ("healthy", 3 + WATCHDOG_SECONDS)
    machine.want(None, 4)
    assert (machine.take(), machine.deadline(), machine.gone) == ([Action.STOP], 4 + STOP_SECONDS_MAX, False)
    machine.want(None, 4)
    assert machine.take() == []
    machine.exited("exit code 0", 5)
    assert (machine.take(), machine.gone, machine.restarts) == ([Action.CLEAR], True, 0)


def test_a_unit_that_does_not_stop_is_killed_again_and_again() -> None:
    machine = running()
    machine.want(None, 0)
    machine.take()
    for now in (STOP_SECONDS_MAX, 2 * STOP_SECONDS_MAX):
        machine.timeout(now)
        assert machine.take() == [Action.KILL]
    machine.timeout(2 * STOP_SECONDS_MAX + 0.1)
    assert machine.take() == []


def test_failures_back_off_and_health_forgets_them() -> None:
    machine = running()
    pauses = []
    now = 0.0
    for _ in range(9):
        machine.exited("exit code 1: boom", now)
        assert machine.report().state == "failed" and machine.report().message == "exit code 1: boom"
        due = machine.deadline()
        assert due is not None
        pauses.append(round(due - now, 3))
        now = due
        machine.timeout(now)
        assert machine.take() == [Action.FETCH]
        machine.bundle(now)
        assert machine.take() == [Action.START]
        machine.ready(now)
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MAX]
    assert (machine.restarts, machine.failures) == (9, 9)
    later = now + SETTLED_SECONDS + 1
    machine.exited("killed by SIGKILL", later)
    assert (machine.restarts, machine.failures, machine.deadline()) == (10, 1, later)


def test_the_watchdog_is_fed_or_kills() -> None:
    machine = running()
    machine.fed(5)
    machine.timeout(WATCHDOG_SECONDS)
    assert machine.take() == []
    machine.forgive(6)
    machine.timeout(6 + WATCHDOG_SECONDS)
    assert (machine.take(), machine.report().state) == ([Action.KILL], "failed")
    machine.timeout(6 + WATCHDOG_SECONDS + STOP_SECONDS_MAX)
    assert machine.take() == [Action.KILL]
    machine.exited("killed by SIGKILL", 20)
    assert machine.message == "silent for 10 s"
    assert (machine.restarts, machine.deadline()) == (1, 20)


def test_a_start_that_takes_too_long_is_a_failure() -> None:
    machine = UnitMachine(SPEC, 0)
    machine.bundle(0)
    machine.configured(0)
    machine.take()
    machine.timeout(START_SECONDS_MAX)
    assert (machine.take(), machine.message) == ([Action.KILL], "not ready within 60 s")
    machine.exited("killed by SIGKILL", START_SECONDS_MAX)
    assert machine.failures == 1


def test_drain_until_nothing_is_left() -> None:
    machine = running()
    machine.left(3)
    machine.want(spec(drain_seconds=30.0), 10)
    assert (machine.take(), machine.report().state) == ([Action.DRAIN], "draining")
    machine.fed(15)
    machine.timeout(15)
    assert machine.take() == []
    machine.left(0)
    machine.timeout(15)
    assert machine.take() == [Action.STOP]
    machine.exited("exit code 0", 16)
    assert (machine.report().state, machine.deadline(), machine.gone) == ("stopped", None, False)
    machine.want(None, 17)
    assert (machine.take(), machine.gone) == ([Action.CLEAR], True)


def test_a_drained_unit_without_work_settles_first() -> None:
    machine = running()
    machine.want(spec(drain_seconds=30.0), 5)
    machine.take()
    machine.timeout(5)
    assert machine.take() == []
    assert machine.deadline() == 5 + DRAIN_SETTLE_SECONDS
    machine.timeout(5 + DRAIN_SETTLE_SECONDS)
    assert machine.take() == [Action.STOP]


def test_the_drain_ends_at_its_deadline() -> None:
    machine = running()
    machine.left(1)
    machine.want(spec(drain_seconds=3.0), 0)
    machine.want(spec(drain_seconds=4.0), 1)
    assert machine.take() == [Action.DRAIN, Action.DRAIN]
    machine.timeout(5 + DRAIN_GRACE_SECONDS - 0.01)
    assert machine.take() == []
    machine.timeout(5 + DRAIN_GRACE_SECONDS)
    assert machine.take() == [Action.STOP]


def test_a_drain_taken_back_ends_nothing() -> None:
    machine = running()
    machine.left(1)
    machine.want(spec(drain_seconds=3.0), 0)
    machine.want(SPEC, 1)
    assert (machine.take(), machine.state, machine.restarts) == ([Action.DRAIN, Action.UNDRAIN], State.HEALTHY, 0)


def test_a_drain_taken_back_too_late_starts_it_again() -> None:
    machine = running()
    machine.want(spec(drain_seconds=0.0), 0)
    machine.timeout(1)
    machine.take()
    machine.want(SPEC, 2)
    machine.exited("exit code 0", 2)
    machine.timeout(2)
    assert (machine.take(), machine.restarts) == ([Action.FETCH], 0)
    stopped = running()
    stopped.want(spec(drain_seconds=0.0), 0)
    stopped.exited("exit code 0", 1)
    stopped.take()
    stopped.want(SPEC, 2)
    assert stopped.take() == [Action.FETCH]


def test_a_unit_that_is_born_draining_never_runs() -> None:
    machine = UnitMachine(spec(drain_seconds=5.0), 0)
    assert (machine.state, machine.take()) == (State.STOPPED, [Action.FETCH])
    machine.bundle(0)
    assert machine.take() == []


def test_other_software_is_started_without_a_pause_or_a_failure() -> None:
    machine = running()
    for change in ({"bundle": "c"}, {"entry": "f"}, {"arguments": ["x"]}, {"sockets": [Socket(name="s", kind="udp", host="h", port=1)]}):
        machine.want(spec(**change), 1)
        assert (machine.take(), machine.report().state) == ([Action.STOP], "starting")
        machine.exited("exit code 0", 1)
        assert machine.deadline() == 1
        machine.timeout(1)
        machine.bundle(1)
        machine.ready(1)
        assert (machine.take(), machine.restarts, machine.failures) == ([Action.FETCH, Action.START], 0, 0)


def test_a_bundle_that_cannot_be_had_is_told() -> None:
    machine = UnitMachine(SPEC, 0)
    machine.bundle_failed("bundle: not signed" + "x" * 1000)
    assert machine.report().state == "failed" and len(machine.report().message) == 500
    machine.want(spec(bundle="c"), 1)
    assert machine.take() == [Action.FETCH, Action.FETCH]
    other = running()
    other.bundle_failed("late")
    assert other.message == ""


def test_a_standby_takes_over_a_few_times_in_a_row() -> None:
    machine = running()
    for failures in range(1, TAKE_OVERS_MAX + 1):
        assert machine.can_be_replaced(10)
        machine.replaced(100 + failures, "killed by SIGKILL", 10)
        machine.configured(10)
        assert (machine.take(), machine.pid, machine.failures, machine.restarts) == ([Action.TAKE_OVER], 100 + failures, failures, failures)
        assert machine.deadline() == 10 + START_SECONDS_MAX
        machine.ready(10)
        assert machine.report().state == "healthy"
    assert not machine.can_be_replaced(9 + SETTLED_SECONDS)
    assert machine.can_be_replaced(10 + SETTLED_SECONDS), "it was well for long enough"


def test_a_silent_one_is_replaced_and_a_stopped_one_is_not() -> None:
    machine = running()
    machine.timeout(WATCHDOG_SECONDS)
    assert machine.take() == [Action.KILL] and machine.can_be_replaced(WATCHDOG_SECONDS)
    machine.want(None, WATCHDOG_SECONDS)
    assert not machine.can_be_replaced(WATCHDOG_SECONDS)
    changed = running()
    changed.want(spec(bundle="c"), 1)
    assert not changed.can_be_replaced(1)


def test_a_drain_goes_on_in_the_standby() -> None:
    machine = running()
    machine.want(spec(drain_seconds=60.0), 1)
    machine.left(3)
    machine.take()
    machine.replaced(78, "killed by SIGKILL", 2)
    assert machine.take() == [Action.TAKE_OVER, Action.DRAIN]
    assert (machine.report().state, machine.report().restarts, machine.report().remaining) == ("draining", 1, 3)


def test_the_table_leads_everywhere_and_back() -> None:
    states = {State.FETCHING}
    for _ in State:
        states |= {after for (before, _), (after, _) in TABLE.items() if before in states}
    assert states == set(State)
    for state in State:
        assert any(before is state for before, _ in TABLE)
        assert (state, Input.REMOVED) in TABLE or state is State.STOPPING


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["bundle", "ready", "exited", "replaced", "drain", "undrain", "remove", "change", "timeout", "left", "fed", "configured"]
        ),
        st.floats(0, 20),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens(steps: list[tuple[str, float]]) -> None:
    """A process is started only when there is none, stopped or killed only when there is one; what is not wanted goes."""
    now = 0.0
    machine = UnitMachine(SPEC, now)
    process = False
    wanted = SPEC
    version = 0

    def act() -> None:
        nonlocal process
        for action in machine.take():
            if action is Action.START:
                assert not process
                process = True
            elif action in (Action.STOP, Action.KILL, Action.DRAIN, Action.UNDRAIN, Action.TAKE_OVER):
                assert process
            elif action is Action.CLEAR:
                assert not process and machine.gone

    for step, seconds in steps:
        now += seconds
        match step:
            case "bundle":
                machine.bundle(now)
            case "ready" if process:
                machine.ready(now)
            case "exited" if process:
                process = False
                machine.exited("exit code 1", now)
            case "replaced" if process and machine.can_be_replaced(now):
                machine.replaced(78, "exit code 1", now)
            case "drain":
                wanted = spec(drain_seconds=seconds, bundle=f"b{version}")
            case "undrain":
                wanted = spec(bundle=f"b{version}")
            case "change":
                version += 1
                wanted = spec(bundle=f"b{version}")
            case "remove":
                machine.want(None, now)
            case "timeout":
                machine.timeout(now)
            case "left":
                machine.left(int(seconds))
            case "fed":
                machine.fed(now)
            case "configured" if process:
                machine.configured(now)
        if machine.wanted:
            machine.want(wanted, now)
        act()
        assert process == machine.alive
    machine.want(None, now)
    act()
    for _ in range(5):
        now = max(now, machine.deadline() or now)
        machine.timeout(now)
        act()
        if process:
            process = False
            machine.exited("exit code 0", now)
            act()
    assert machine.gone
