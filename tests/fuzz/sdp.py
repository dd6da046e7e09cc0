"""Session descriptions: read or refused; what is read can be agreed on or not, be answered, and the answer be read."""

from collections.abc import Callable

from media.negotiation import Agreement, NotAcceptableError, accept, answer, offer
from media.sdp import BYTES_MAX, MEDIA_MAX, Local, SdpError, audio, parse, refused, write
from tests.fuzz.vectors import messages

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8 96 101\r\na=rtpmap:96 opus/48000/2\r\n"
    b"a=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:40001 IN IP4 192.0.2.2\r\na=rtcp-mux\r\n"
    b"a=ptime:20\r\na=sendonly\r\nm=video 40002/2 RTP/AVP 31\r\nc=IN IP6 2001:db8::1/3\r\na=inactive\r\n"
)


SECURE = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-lite\r\n"
    b"m=audio 40000 UDP/TLS/RTP/SAVPF 96 13\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 maxplaybackrate=16000;stereo=1;cbr=1\r\n"
    b"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 " + b":".join([b"AB"] * 32) + b"\r\n"
    b"a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host\r\na=candidate:2 1 tcp 1 2001:db8::1 9 typ srflx raddr ::1 rport 8\r\n"
    b"a=setup:actpass\r\na=mid:0\r\na=rtcp-mux\r\na=rtcp-xr:voip-metrics stat-summary=loss rcvr-rtt=all:20\r\n"
)
CRYPTO = OFFER[:86] + (
    b"m=audio 40000 RTP/SAVP 9 97\r\na=rtpmap:97 L16/16000\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 "
    b"inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20\r\na=crypto:2 AEAD_AES_256_GCM inline:x WSH=64 UNKNOWN\r\n"
)


def seeds() -> list[bytes]:
    """Full offers, and the bodies of the vectors."""
    return [OFFER, SECURE, CRYPTO, *(body for data in messages() if (body := data.partition(b"\r\n\r\n")[2]).startswith(b"v="))]


def check(data: bytes) -> None:
    try:
        description = parse(data)
    except SdpError:
        return
    assert len(data) <= BYTES_MAX
    _agree(lambda: answer(description, (True, True)))
    _agree(lambda: accept(description, offer(48000)[1]))
    assert len(description.media) <= MEDIA_MAX
    sections = []
    for media in description.media:
        assert 0 <= media.port <= 65535
        assert 0 <= media.rtcp_port <= 65535
        assert media.formats
        taken = media.kind == "audio" and media.port
        formats = [(kind, f"{name}/{clock}", media.parameters.get(kind, "")) for kind, (name, clock, _) in media.codecs.items()]
        sections.append(
            audio(40000, media.protocol, formats or [(0, "PCMU/8000", "")], media.direction, media.mux, 40001) if taken else refused(media)
        )
    written = parse(write(Local("192.0.2.9", 1, 2, description.time), sections))
    assert [media.kind for media in written.media] == [media.kind for media in description.media]
    assert [media.protocol for media in written.media] == [media.protocol for media in description.media]
    for theirs, ours in zip(description.media, written.media, strict=True):
        if ours.port:
            assert ours.direction == theirs.direction
            assert ours.mux == theirs.mux


def _agree(way: Callable[[], Agreement]) -> None:
    """One side's view of a description."""
    try:
        agreement = way()
    except NotAcceptableError:
        return
    assert agreement.kinds
    assert 0 <= agreement.payload_type < 128
    assert all(0 <= kind < 128 for kind in agreement.kinds)
    assert all(kind < 128 for kind, _, _ in agreement.formats(48000))
    assert 0 < agreement.port <= 65535
    assert 0 <= agreement.extended <= 7
    assert agreement.crypto is None or agreement.protocol != "RTP/SAVP" or agreement.crypto.key
