"""What SIPp wrote, read; and what makes a run invalid."""

from xml.etree import ElementTree

import pytest

from loadtest.bench.sipp import SCENARIOS, Outcome, faults

HEADER = "StartTime;CallRate(C);SuccessfulCall(C);FailedCall(C);Retransmissions(C);ResponseTime1(C);"
STATISTICS = f"{HEADER}\n1;10.5;3;0;0;00:00:00:001500;\n2;499.8;2000;1;7;00:00:01:002500;\n"
TIMES = "Date_ms;response_time_ms;rtd_no\n" + "".join(f"1;{value};1\n" for value in range(200, 0, -1))


def test_the_last_line_counts() -> None:
    outcome = Outcome.read(STATISTICS)
    assert (outcome.succeeded, outcome.failed, outcome.retransmissions, outcome.rate) == (2000, 1, 7, 499.8)
    assert outcome.response_ms == pytest.approx(1002.5)
    assert outcome.response_p99_ms == 0.0


def test_the_99th_percentile_of_response_times() -> None:
    assert Outcome.read(STATISTICS, TIMES).response_p99_ms == 199.0


@pytest.mark.parametrize("text", ["", "nonsense", "a;b\n1;2\n"])
def test_what_is_no_statistics(text: str) -> None:
    with pytest.raises(ValueError, match="statistics"):
        Outcome.read(text)


def outcome(succeeded: int = 1000, failed: int = 0, retransmissions: int = 0, rate: float = 100.0) -> Outcome:
    return Outcome(succeeded, failed, retransmissions, rate, 1.0, 0.0)


def test_limits_of_a_valid_run() -> None:
    assert faults(outcome(999, 1, 10, 97.0), 1000, 100) == ()
    assert faults(outcome(998, 2), 1000, 100) == ("2 of 1000 failed",)
    assert faults(outcome(990), 1000, 100) == ("10 of 1000 failed",), "calls that never ended"
    assert faults(outcome(retransmissions=5), 1000, 100, 6) == ("11 retransmissions",)
    assert faults(outcome(rate=96.9), 1000, 100) == ("97/s instead of 100/s",)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.xml")), ids=lambda path: path.name)
def test_scenarios_are_well_formed(path: object) -> None:
    assert ElementTree.parse(str(path)).getroot().tag == "scenario"
