"""Session descriptions: read or refused; what is read can be answered, and the answer be read."""

from media.sdp import BYTES_MAX, MEDIA_MAX, Local, SdpError, audio, parse, refused, write
from tests.fuzz.vectors import messages

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8 96 101\r\na=rtpmap:96 opus/48000/2\r\n"
    b"a=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:40001 IN IP4 192.0.2.2\r\na=rtcp-mux\r\n"
    b"a=ptime:20\r\na=sendonly\r\nm=video 40002/2 RTP/AVP 31\r\nc=IN IP6 2001:db8::1/3\r\na=inactive\r\n"
)


def seeds() -> list[bytes]:
    """A full offer, and the bodies of the vectors."""
    return [OFFER, *(body for data in messages() if (body := data.partition(b"\r\n\r\n")[2]).startswith(b"v="))]


def check(data: bytes) -> None:
    try:
        description = parse(data)
    except SdpError:
        return
    assert len(data) <= BYTES_MAX
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
    answer = parse(write(Local("192.0.2.9", 1, 2, description.time), sections))
    assert [media.kind for media in answer.media] == [media.kind for media in description.media]
    assert [media.protocol for media in answer.media] == [media.protocol for media in description.media]
    for theirs, ours in zip(description.media, answer.media, strict=True):
        if ours.port:
            assert ours.direction == theirs.direction
            assert ours.mux == theirs.mux
