"""The little SDP that a test call needs: an offer of G.711, and where the answer wants it (RFC 8866, RFC 3264)."""

from typing import NamedTuple

from loadtest.stream import LAW

NAMES = {0: "PCMU", 8: "PCMA"}


class Agreed(NamedTuple):
    """What an answer agreed on."""

    host: str
    port: int
    payload_type: int

    @property
    def codec(self) -> str:
        return NAMES[self.payload_type]


def offer(host: str, port: int, payload_types: tuple[int, ...] = (0, 8), *, session: int = 1) -> bytes:
    """An offer of one audio stream, RTP at ``port`` and RTCP at the next one."""
    family = "IP6" if ":" in host else "IP4"
    lines = ["v=0", f"o=- {session} 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0"]
    lines.append(f"m=audio {port} RTP/AVP {' '.join(map(str, payload_types))}")
    lines += [f"a=rtpmap:{payload_type} {NAMES[payload_type]}/8000" for payload_type in payload_types]
    lines += ["a=ptime:20", "a=sendrecv"]
    return "\r\n".join([*lines, ""]).encode()


def agreed(answer: bytes) -> Agreed | None:
    """Where the answer wants our audio, and as what; None: no audio that we can send.

    Its first payload type that we know counts; an address of the media section goes before that of the session.
    """
    host, port, payload_type, media = "", 0, None, ""
    for line in answer.decode("utf-8", "replace").splitlines():
        kind, _, value = line.partition("=")
        words = value.split()
        if kind == "m" and len(words) > 3:
            media = words[0] if not port else "further"
            if media == "audio" and words[1].isdecimal():
                port = int(words[1])
                payload_type = next((int(word) for word in words[3:] if word.isdecimal() and int(word) in LAW), None)
        elif kind == "c" and len(words) == 3 and media in ("", "audio"):
            host = words[2].partition("/")[0]
    if not host or not 0 < port < 65536 or payload_type is None:
        return None
    return Agreed(host, port, payload_type)
