"""Who is judged when: silence, farewell, a late judge, a common fault."""

from controller.presence import DEAD_SECONDS, FAREWELL_SECONDS, HOLD_SECONDS, START_SECONDS, SUSPECT_SECONDS, Watchman


def watch(watchman: Watchman, machines: dict[str, float], start: float, end: float, step: float = 0.5) -> dict[str, str]:
    """Let time pass; each machine beats until its time. Returns the last verdicts."""
    now, verdicts = start, {}
    while now <= end:
        for machine, until in machines.items():
            if now <= until:
                watchman.heard(machine, now)
        verdicts = dict(watchman.judge(now))
        now += step
    return verdicts  # type: ignore[return-value]


def machines(count: int, until: float = 1e9) -> dict[str, float]:
    return {f"m{index}": until for index in range(count)}


def test_a_silent_one_is_suspect_then_dead_within_ten_seconds() -> None:
    watchman = Watchman(0.0)
    beats = {**machines(4), "m0": 20.0}
    assert watch(watchman, beats, 0.0, 20.0 + SUSPECT_SECONDS - 0.5)["m0"] == "alive"
    assert watch(watchman, beats, 20.0 + SUSPECT_SECONDS, 20.0 + SUSPECT_SECONDS)["m0"] == "suspect"
    assert watch(watchman, beats, 24.0, 20.0 + DEAD_SECONDS)["m0"] == "dead"
    assert DEAD_SECONDS < 10.0
    assert watch(watchman, machines(4), 30.0, 31.0)["m0"] == "alive"


def test_a_farewell_is_believed_sooner() -> None:
    watchman = Watchman(0.0)
    watch(watchman, machines(4), 0.0, 5.0)
    watchman.farewell("m1", 5.0)
    assert watchman.judge(5.0)["m1"] == "suspect"
    assert watchman.judge(5.0 + FAREWELL_SECONDS)["m1"] == "dead"
    watchman.heard("m1", 8.0)
    assert watchman.judge(8.0)["m1"] == "alive"


def test_a_late_judge_blames_nobody() -> None:
    watchman = Watchman(0.0)
    watch(watchman, machines(4), 0.0, 10.0)
    assert set(watchman.judge(60.0).values()) == {"alive"}


def test_a_third_at_once_is_held_back() -> None:
    watchman = Watchman(0.0)
    beats = {**machines(4), "m0": 20.0, "m1": 21.0}
    verdicts = watch(watchman, beats, 0.0, 40.0)
    assert (verdicts["m0"], verdicts["m1"]) == ("suspect", "suspect")
    assert watch(watchman, beats, 40.5, 30.0 + HOLD_SECONDS)["m0"] == "dead"


def test_one_after_the_other_is_not_held_back() -> None:
    watchman = Watchman(0.0)
    beats = {**machines(9), "m0": 20.0, "m1": 60.0}
    assert watch(watchman, beats, 0.0, 40.0)["m0"] == "dead"
    assert watch(watchman, beats, 40.5, 80.0)["m1"] == "dead"


def test_the_only_one_can_die() -> None:
    assert watch(Watchman(0.0), {"m0": 5.0}, 0.0, 20.0)["m0"] == "dead"


def test_expected_ones_have_their_full_time_after_a_start() -> None:
    watchman = Watchman(100.0)
    watchman.expect("m0", 100.0)
    silent = 100.0 + START_SECONDS
    assert watch(watchman, {}, 100.0, silent + SUSPECT_SECONDS - 0.5)["m0"] == "alive"
    assert watch(watchman, {}, silent + SUSPECT_SECONDS, silent + DEAD_SECONDS - 0.5)["m0"] == "suspect"
    assert watch(watchman, {}, silent + DEAD_SECONDS, silent + DEAD_SECONDS)["m0"] == "dead"
    watchman.forget("m0")
    assert watchman.judge(silent + 9.0) == {}
