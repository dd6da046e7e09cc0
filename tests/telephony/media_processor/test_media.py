"""A media processor's place in the shell, with the real engine."""

import os
import socket
from collections.abc import Iterator

import msgspec
import pytest

from media.config import MediaConfiguration
from media.control import TICK_SECONDS, Answer, Connect, Done, Echo, LegReport, Offer, Query, Release
from media.legs import LAYOUT_VERSION
from media.ring import Ring
from telephony.config import Jobs, MediaProcessorConfiguration, RoutingConfiguration
from telephony.core import Job
from telephony.effects import Notify, Reply, Tell
from telephony.jobs.media import STEPS_MAX, LegEnding, Step, StepDone, Steps
from telephony.media_processor.core import GRACE_SECONDS, LATE_SECONDS_MAX, Media

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.decode
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
NO_KEYS = Jobs(curve_public="", curve_secret="")


@pytest.fixture
def media() -> Iterator[Media]:
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for one in pair:
        one.bind(("127.0.0.1", 0))
    core = Media({"rtp": pair[0].fileno(), "rtcp": pair[1].fileno(), "sip-udp": 999})
    core.configure(
        MediaProcessorConfiguration(
            id="media-1",
            platform="voice",
            jobs=NO_KEYS,
            media=MediaConfiguration(host="127.0.0.1", rtp_port_first=38000, rtp_port_last=38019),
        ),
        1000.0,
    )
    yield core
    core.close()
    for one in pair:
        one.close()


def ask(media: Media, operation: str, body: msgspec.Struct | bytes, client: str = "router-1") -> tuple[str, bytes]:
    media.job(Job(1, client, operation, body if isinstance(body, bytes) else encode(body)), 1000.0)
    (reply,) = media.take()
    assert isinstance(reply, Reply)
    return reply.status, reply.body


def test_a_job_is_the_engines(media: Media) -> None:
    status, body = ask(media, "offer", Offer(leg="a", call="c", sdp=SDP))
    assert status == "ok"
    assert b"m=audio" in decode(body, type=Answer).sdp
    assert media.remaining() == 1
    assert ask(media, "connect", Connect(leg="b", to=Echo()))[0] == "not-found"
    status, body = ask(media, "release", Release(leg="a"))
    assert (status, decode(body, type=LegReport).call) == ("ok", "c")
    assert media.remaining() == 0


def test_several_steps_are_one_job_and_one_that_fails_stops_nothing(media: Media) -> None:
    steps = [
        Step("offer", encode(Offer(leg="a", call="c", sdp=SDP))),
        Step("fly", b""),
        Step("connect", encode(Connect(leg="a", to=Echo()))),
        Step("query", encode(Query(leg="a"))),
    ]
    status, body = ask(media, "steps", Steps(steps=steps))
    done = decode(body, type=list[StepDone])
    assert (status, [one.status for one in done]) == ("ok", ["ok", "bad-request", "ok", "ok"])
    assert decode(done[2].body, type=Done) == Done()
    assert decode(done[3].body, type=list[LegReport])[0].connected_to == "echo"


def configuration(**changes: int) -> MediaProcessorConfiguration:
    media = MediaConfiguration(host="127.0.0.1", rtp_port_first=38000, rtp_port_last=38019, **changes)  # type: ignore[arg-type]
    return MediaProcessorConfiguration(id="media-1", platform="voice", jobs=NO_KEYS, media=media)


def test_a_standby_goes_on_with_the_legs() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    state = os.memfd_create("state")
    first, standby = Media({"state": state}), Media({"state": state, "peer": theirs.fileno()})
    first.configure(configuration(), 1000.0)
    standby.warm(configuration(), 1000.0)
    standby.warm(configuration(), 1000.0)
    assert standby.deadline() is None, "it does not tick"
    first.standby(ours.detach())
    assert ask(first, "offer", Offer(leg="a", call="c", sdp=SDP))[0] == "ok"
    first.timeout(1000.005)
    assert standby.hear_peer()
    # The first one is gone; what it held in memory is not.
    standby.configure(configuration(), 1000.1)
    assert (standby.remaining(), standby.deadline()) == (1, 1000.1)
    status, body = ask(standby, "release", Release(leg="a"))
    assert (status, decode(body, type=LegReport).call) == ("ok", "c")
    for core in (first, standby):
        core.close()
    theirs.close()
    os.close(state)


def test_memory_of_another_layout_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    state = os.memfd_create("state")
    first = Media({"state": state})
    first.configure(configuration(), 1000.0)
    assert ask(first, "offer", Offer(leg="a", call="c", sdp=SDP))[0] == "ok"
    monkeypatch.setattr("media.legs.LAYOUT_VERSION", LAYOUT_VERSION + 1)
    with pytest.raises(ValueError, match="expected layout"):
        Media({"state": state}).warm(configuration(), 1000.0)
    second = Media({"state": state})
    second.configure(configuration(), 1000.0)
    assert second.ready() and second.remaining() == 0
    assert ask(second, "offer", Offer(leg="b", call="c", sdp=SDP))[0] == "ok"
    for core in (first, second):
        core.close()
    os.close(state)


@pytest.mark.parametrize("body", [b"noise", encode(Steps(steps=[Step("query", b"")] * (STEPS_MAX + 1)))])
def test_steps_that_are_none_are_refused(media: Media, body: bytes) -> None:
    assert ask(media, "steps", body)[0] == "bad-request"


def test_ticks_do_not_drift_and_a_long_pause_is_not_caught_up(media: Media) -> None:
    assert media.deadline() == pytest.approx(1000.0 + TICK_SECONDS)
    for number in range(2, 100):
        media.timeout(1000.0 + (4 * number - 7) * TICK_SECONDS + 0.0037)  # each of them late
        assert media.deadline() == pytest.approx(1000.0 + (4 * number - 3) * TICK_SECONDS), "without a leg there is little to do"
    media.timeout(1000.0 + LATE_SECONDS_MAX * 30)
    assert media.deadline() == pytest.approx(1000.0 + LATE_SECONDS_MAX * 30 + TICK_SECONDS)


def test_after_a_job_the_next_tick_is_not_left_out(media: Media) -> None:
    media.timeout(1000.0 + TICK_SECONDS)
    assert media.deadline() == pytest.approx(1000.0 + 5 * TICK_SECONDS)
    media.job(Job(1, "router-1", "offer", encode(Offer(leg="a", call="c", sdp=SDP))), 1000.0 + 2.3 * TICK_SECONDS)
    assert media.deadline() == pytest.approx(1000.0 + 3 * TICK_SECONDS)


def test_the_controller_is_told_whether_there_is_an_io_uring(media: Media) -> None:
    ask(media, "offer", Offer(leg="a", call="c", sdp=SDP))
    told = []
    for number in range(2 * 31):
        media.timeout(1000.0 + number)
        told += [effect.body["figures"] for effect in media.take() if isinstance(effect, Notify)]
    assert len(told) == 3, "every 30 s"
    ring = Ring.open(2)
    assert told[0]["media_io_uring"] == float(ring is not None)
    assert told[-1]["media_legs"] == 1 and told[-1]["media_ticks_skipped"] > 0
    if ring is not None:
        ring.close()


def test_routers_are_told_of_their_legs_before_it_stops(media: Media) -> None:
    for leg, client in (("a", "router-1"), ("b", "router-2"), ("c", "router-2")):
        assert ask(media, "offer", Offer(leg=leg, call=f"call-{leg}", sdp=SDP), client)[0] == "ok"
    ask(media, "release", Release(leg="c"), "router-2")
    media.drain(1010.0, 1000.0)
    media.timeout(1010.0 - GRACE_SECONDS - 0.01)
    assert not any(isinstance(effect, Tell) for effect in media.take())
    media.timeout(1010.0 - GRACE_SECONDS)
    told = [one for one in media.take() if isinstance(one, Tell)]
    assert sorted((one.client, one.operation, decode(one.body, type=LegEnding).leg) for one in told) == [
        ("router-1", "leg-ending", "a"),
        ("router-2", "leg-ending", "b"),
    ]
    media.undrain(1010.0)
    media.timeout(1011.0)
    assert list(media.take()) == []


def test_the_configuration_of_another_kind_is_refused() -> None:
    core = Media({})
    with pytest.raises(ValueError, match="RoutingConfiguration"):
        core.configure(RoutingConfiguration(id="r", platform="voice", jobs=NO_KEYS, realm="x"), 0.0)
    assert not core.ready()
    assert core.deadline() is None
