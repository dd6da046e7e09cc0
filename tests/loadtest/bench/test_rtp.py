"""What the RTP load reports, and what makes a run invalid."""

import msgspec
import pytest

from loadtest.bench import media
from loadtest.bench.rtp import NOTHING, SILENCE, SPEECH, Seen, Stream, faults, media_port, payload_type, ports, sdp

LINE = (
    '{"streams": 4, "sockets": 2, "seconds": 2.0, "sent": 400, "unsent": 0, "received": 400, "sources": 4, "gaps": 0, "expected": 400, '
    '"deviation_p50_us": 80, "deviation_p99_us": 900, "gap_p50_us": 20100, "gap_max_us": 21000, '
    '"cpu_seconds": 0.01, "lag_ms": 1.5, "late_share": 0.0}'
)


def seen(**changes: float) -> Seen:
    return msgspec.structs.replace(Seen.read(LINE), **changes)


def test_a_clean_run_is_valid() -> None:
    assert faults(Seen.read(LINE), hearing=4) == ()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sources": 3}, "1 of 4 streams silent"),
        ({"gaps": 2}, "0.50% lost"),
        ({"received": 390, "expected": 390}, "2.50% too few packets"),
        ({"late_share": 0.05}, "load late in 5.0%, 0 unsent"),
        ({"unsent": 3}, "load late in 0.0%, 3 unsent"),
    ],
)
def test_what_makes_a_run_invalid(changes: dict[str, float], fault: str) -> None:
    assert faults(seen(**changes), hearing=4) == (fault,)


def test_another_report_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Seen.read("{}")


def test_the_line_of_a_stream() -> None:
    assert Stream(4000, "127.0.0.1", 5004).line() == "4000 127.0.0.1 5004 1 0 160\n"
    assert Stream(4000, "127.0.0.1", 5004, codec="pcma").line() == "4000 127.0.0.1 5004 2 8 160\n"
    assert Stream(4000, "127.0.0.1", 5004, NOTHING, "pcma").line() == "4000 127.0.0.1 5004 0 8 160\n"


def test_ports_are_one_or_even() -> None:
    assert ports(3, one=True) == [4000, 4000, 4000]
    assert ports(3, one=False) == [4000, 4002, 4004]


def test_session_descriptions() -> None:
    assert media_port(sdp(4242, "pcma").encode()) == 4242
    with pytest.raises(ValueError, match="no m=audio"):
        media_port(b"v=0\r\n")


def test_members_of_rooms() -> None:
    assert media.members(2, 3, 1, one=False) == [
        [(4000, SPEECH), (4002, SILENCE), (4004, SILENCE)],
        [(4006, SPEECH), (4008, SILENCE), (4010, SILENCE)],
    ]


def test_payload_types_of_a_session() -> None:
    session = sdp(4000, "opus", 107).encode()
    assert payload_type(session, "opus") == 107
    assert payload_type(session, "pcma") == 8
    assert Stream(4000, "127.0.0.1", 5004, codec="opus", type=107).line() == "4000 127.0.0.1 5004 2 107 960\n"
