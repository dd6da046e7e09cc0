"""A phone of `tests.media.phone` that speaks SRTP by pylibsrtp's own interface."""

import base64

from pylibsrtp import Policy, Session

from tests.media.phone import Phone, Rtp, drain, parse

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
}


def crypto_lines(description: bytes) -> list[str]:
    return [line[9:] for line in description.decode().splitlines() if line.startswith("a=crypto:")]


def key_of(line: str) -> bytes:
    return base64.b64decode(line.split("inline:")[1].split("|")[0])


class SecurePhone(Phone):
    """One side of a secured call."""

    def __init__(self, suite: str = "AES_CM_128_HMAC_SHA1_80", ssrc: int = 0x1234, first: int = 1) -> None:
        super().__init__(ssrc=ssrc)
        self.suite = suite
        profile, size = PROFILES[suite]
        self.profile = profile
        self.key = bytes((first + number) & 0xFF for number in range(size))
        self.out = Session(Policy(key=self.key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
        self.inward: Session | None = None

    def line(self, tag: int = 1) -> str:
        return f"{tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"

    def description(self, protocol: str = "RTP/SAVP", formats: str = "0 101", extra: str = "", mux: bool = False) -> bytes:
        rtcp = "a=rtcp-mux" if mux else f"a=rtcp:{self.rtcp.getsockname()[1]}"
        lines = f"v=0\r\no=- 1 1 IN IP4 {self.host}\r\ns=-\r\nc=IN IP4 {self.host}\r\nt=0 0\r\nm=audio {self.port} {protocol} {formats}\r\n"
        return f"{lines}a=rtpmap:101 telephone-event/8000\r\n{extra}a=crypto:{self.line()}\r\n{rtcp}\r\n".encode()

    def take(self, answer: bytes) -> None:
        super().take(answer)
        (line,) = crypto_lines(answer)
        self.hear_with(key_of(line))

    def hear_with(self, key: bytes) -> None:
        self.inward = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=self.profile))

    def raw(self, data: bytes) -> None:
        self.socket.sendto(self.out.protect(data), self.to)

    def received(self) -> list[Rtp]:
        assert self.inward is not None
        return [parse(self.inward.unprotect(data)) for data in drain(self.socket)]

    def reports(self) -> list[bytes]:
        assert self.inward is not None
        return [self.inward.unprotect_rtcp(data) for data in drain(self.rtcp)]
