"""Descriptions: what peers say, what we answer; and what nobody should say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import negotiation, sdp
from media.codecs import COMFORT, EVENT, PCMA, PCMU

OFFER = b"""v=0\r
o=alice 2890844526 2890844526 IN IP4 192.0.2.1\r
s=-\r
c=IN IP4 192.0.2.1\r
t=0 0\r
m=video 51372 RTP/AVP 31\r
a=rtpmap:31 H261/90000\r
m=audio 49170/1 RTP/AVP 96 8 0 13 101\r
a=rtpmap:96 iLBC/8000\r
a=rtpmap:8 pcma/8000\r
a=rtpmap:101 Telephone-Event/8000\r
a=fmtp:101 0-16\r
a=ptime:30\r
a=sendonly\r
a=rtcp:53020 IN IP4 192.0.2.9\r
a=rtcp-mux\r
m=audio 49180 RTP/AVP 0\r
"""


def test_a_whole_offer_is_read() -> None:
    description = sdp.parse(OFFER)
    video, audio, second = description.media
    assert (video.kind, video.port, second.port) == ("video", 51372, 49180)
    assert (audio.port, audio.host, audio.direction, audio.ptime, audio.mux) == (49170, "192.0.2.1", "sendonly", 30, True)
    assert (audio.rtcp_port, audio.rtcp_host) == (53020, "192.0.2.9")
    assert audio.codecs[101] == ("Telephone-Event", 8000, 1)
    assert audio.parameters[101] == "0-16"


def test_the_first_codec_of_ours_is_agreed_on() -> None:
    agreement = negotiation.answer(sdp.parse(OFFER))
    assert (agreement.section, agreement.codec.number, agreement.payload_type) == (1, PCMA, 8)
    assert (agreement.event_type, agreement.comfort_type) == (101, 13)
    assert agreement.kinds == {8: PCMA, 101: EVENT, 13: COMFORT}
    assert (agreement.receives, agreement.sends, agreement.answer_direction()) == (True, False, "recvonly")
    assert (agreement.rtcp_host, agreement.rtcp_port) == ("192.0.2.1", 49170)


def test_our_answer_refuses_what_is_not_taken() -> None:
    description = sdp.parse(OFFER)
    agreement = negotiation.answer(description)
    media = [sdp.refused(section) for section in description.media]
    media[1] = sdp.audio(4000, agreement.protocol, agreement.formats(16000), agreement.answer_direction(), agreement.mux, 4001)
    text = sdp.write(sdp.Local("127.0.0.2", 5, 2), media).decode()
    assert text.splitlines() == [
        "v=0",
        "o=hotswitch 5 2 IN IP4 127.0.0.2",
        "s=-",
        "c=IN IP4 127.0.0.2",
        "t=0 0",
        "m=video 0 RTP/AVP 31",
        "m=audio 4000 RTP/AVP 8 101 13",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtpmap:13 CN/8000",
        "a=ptime:20",
        "a=recvonly",
        "a=rtcp-mux",
        "m=audio 0 RTP/AVP 0",
    ]
    again = sdp.parse(text.encode())
    assert [section.port for section in again.media] == [0, 4000, 0]


@pytest.mark.parametrize(
    "section",
    [
        b"m=audio 4000 RTP/SAVP 0\r\nc=IN IP4 192.0.2.1\r\n",
        b"m=audio 0 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n",
        b"m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 unheard-of/8000\r\nc=IN IP4 192.0.2.1\r\n",
        b"m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n",
        b"m=audio 4000 RTP/AVP 0\r\nc=IN IP4 phone.example\r\n",
        b"m=audio 4000 RTP/AVP 0\r\n",
        b"",
    ],
)
def test_nothing_to_agree_on_is_not_acceptable(section: bytes) -> None:
    with pytest.raises(negotiation.NotAcceptableError):
        negotiation.answer(sdp.parse(b"v=0\r\n" + section))


@pytest.mark.parametrize(
    ("direction", "host", "receives", "sends", "ours"),
    [
        ("sendrecv", "192.0.2.1", True, True, "sendrecv"),
        ("sendonly", "192.0.2.1", True, False, "recvonly"),
        ("recvonly", "192.0.2.1", False, True, "sendonly"),
        ("inactive", "192.0.2.1", False, False, "inactive"),
        ("sendrecv", "0.0.0.0", True, False, "sendrecv"),
    ],
)
def test_hold(direction: str, host: str, receives: bool, sends: bool, ours: str) -> None:
    offer = f"v=0\r\nc=IN IP4 {host}\r\nm=audio 4000 RTP/AVP 0\r\na={direction}\r\n"
    agreement = negotiation.answer(sdp.parse(offer.encode()))
    assert (agreement.receives, agreement.sends, agreement.answer_direction()) == (receives, sends, ours)


def test_an_answer_to_our_offer() -> None:
    formats, kinds = negotiation.offer(16000)
    assert [kind for kind, _, _ in formats] == [kind for kind in kinds if kind != 13]
    reply = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    agreement = negotiation.accept(sdp.parse(reply), kinds)
    assert (agreement.codec.number, agreement.event_type, agreement.kinds[0]) == (PCMA, 101, PCMU)
    for refusal in (b"v=0\r\nm=audio 0 RTP/AVP 0\r\n", b"v=0\r\n"):
        with pytest.raises(negotiation.NotAcceptableError):
            negotiation.accept(sdp.parse(refusal), kinds)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"v=1\r\n",
        b"v=0\r\nnonsense\r\n",
        b"v=0\r\nm=audio\r\n",
        b"v=0\r\nm=audio x RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 99999 RTP/AVP 0\r\n",
        b"v=0\r\nc=IN\r\n",
        b"v=0\r\na=rtpmap:0\r\n",
        b"v=0\r\na=rtcp:\r\n",
        b"v=0\r\na=rtpmap:0 PCMU/-8000\r\n",
        "v=0\r\na=rtpmap:٣ PCMU/8000\r\n".encode(),
        b"v=0\r\n\xff\xfe\r\n",
        b"v=0\r\n" + b"a=x\r\n" * 500,
        b"v=0\r\n" + b"m=audio 1 RTP/AVP 0\r\n" * 17,
        b"v=0\r\n" + b"a" * 20_000,
    ],
)
def test_what_is_no_description_is_said_so(data: bytes) -> None:
    with pytest.raises(sdp.SdpError):
        sdp.parse(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(OFFER)), st.integers(0, 40))
def test_damaged_descriptions_raise_nothing_else(noise: bytes, place: int, gone: int) -> None:
    data = OFFER[:place] + noise + OFFER[place + gone :]
    try:
        description = sdp.parse(data)
        negotiation.answer(description)
    except (sdp.SdpError, negotiation.NotAcceptableError):
        pass
