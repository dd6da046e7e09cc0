"""The RTP load: rtpload compiled and run, and what it saw."""

import base64
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loadtest.bench import accounting, address, packages, speech
from loadtest.bench.accounting import Snapshot, Usage
from loadtest.bench.figure import Round
from loadtest.bench.process import NotRunnableError

SOURCE = Path(__file__).parent / "rtpload.c"
PACKETS_PER_SECOND = 50
"""Of one stream: packets of 20 ms."""
GRACE_SECONDS = 30.0
LOSS_SHARE_MAX = 0.001
LATE_SHARE_MAX = 0.02
"""Of the generator's own milliseconds, that it was more than 5 ms behind: it was no fair load."""
NOTHING, SPEECH, OTHER_SPEECH, SILENCE, SECURED_SPEECH = 0, 1, 2, 3, 4
CRYPTO = "AES_CM_128_HMAC_SHA1_80 inline:" + base64.b64encode(b"k" * 30).decode()
"""Key of all that the load sends in SRTP."""
SRTP_HEADER = Path("/usr/include/srtp2/srtp.h")
TYPES = {"pcmu": 0, "pcma": 8, "opus": 96}
"""Payload type of a codec (RFC 3551; Opus: ours)."""
MAPS = {"pcmu": "PCMU/8000", "pcma": "PCMA/8000", "opus": "opus/48000/2"}
"""Its rtpmap."""
STEPS = {"pcmu": 160, "pcma": 160, "opus": 960}
"""20 ms of its RTP clock."""


@dataclass(frozen=True)
class Stream:
    """One line of load: from a local port of `address.GENERATOR` to where the contender expects it."""

    port: int
    host: str
    to: int
    sends: int = SPEECH
    codec: str = "pcmu"
    type: int = -1
    """Payload type; -1: that of `TYPES`."""
    secured: bool = False
    """It sends SRTP, PCMU or PCMA."""

    def line(self) -> str:
        if self.secured:
            return f"{self.port} {self.host} {self.to} {SECURED_SPEECH} {TYPES[self.codec]} {STEPS[self.codec]}\n"
        sends = OTHER_SPEECH if self.sends == SPEECH and self.codec != "pcmu" else self.sends
        return f"{self.port} {self.host} {self.to} {sends} {TYPES[self.codec] if self.type < 0 else self.type} {STEPS[self.codec]}\n"


class Seen(msgspec.Struct, frozen=True):
    """What rtpload reports."""

    streams: int
    sockets: int
    seconds: float
    sent: int
    unsent: int
    received: int
    sources: int
    """Different senders heard."""
    gaps: int
    """Sequence numbers missing (duplicates count against)."""
    expected: int
    deviation_p50_us: int
    """|interarrival - 20 ms|, median."""
    deviation_p99_us: int
    gap_p50_us: int
    """Median over all sources of the longest time between two packets."""
    gap_max_us: int
    cpu_seconds: float
    lag_ms: float
    late_share: float

    @staticmethod
    def read(line: str) -> "Seen":
        """Raises msgspec.ValidationError or msgspec.DecodeError."""
        return msgspec.json.decode(line, type=Seen)


def faults(seen: Seen, hearing: int) -> tuple[str, ...]:
    """Why a run is invalid, where ``hearing`` streams should have come back without a break."""
    found = []
    if seen.sources < hearing:
        found.append(f"{hearing - seen.sources} of {hearing} streams silent")
    due = hearing * PACKETS_PER_SECOND * seen.seconds
    if seen.expected and seen.gaps > seen.expected * LOSS_SHARE_MAX:
        found.append(f"{seen.gaps / seen.expected:.2%} lost")
    elif seen.received < due * (1 - 10 * LOSS_SHARE_MAX):
        found.append(f"{1 - seen.received / due:.2%} too few packets")
    if seen.unsent or seen.late_share > LATE_SHARE_MAX:
        found.append(f"load late in {seen.late_share:.1%}, {seen.unsent} unsent")
    return tuple(found)


class Load:
    """The compiled generator with its payloads: PCMU and one ``other`` codec; `close` removes them."""

    def __init__(self, other: str = "pcma", secured: bool = False) -> None:
        packages.need("gcc")
        if secured and not SRTP_HEADER.exists():
            packages.install(["libsrtp2-dev"])
        self._folder = tempfile.TemporaryDirectory(prefix="hotswitch-rtpload-")
        self._path = Path(self._folder.name)
        command = [
            packages.program("gcc"),
            "-O2",
            "-o",
            str(self._path / "rtpload"),
            str(SOURCE),
            *(["-DSECURED", "-lsrtp2"] if secured else []),
        ]
        built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if built.returncode:
            raise NotRunnableError(f"rtpload does not compile:\n{built.stderr}")
        speech.write(self._path / "pcmu", "pcmu")
        speech.write(self._path / "other", other)

    def run(self, streams: list[Stream], roots: list[int], hearing: int, seconds: float, warm: float = 2.0) -> Round:
        """Load a contender (process trees ``roots``) and say what it cost it per packet that came back."""
        listing = self._path / "streams"
        listing.write_text("".join(stream.line() for stream in streams))
        command = [
            str(self._path / "rtpload"), "-a", address.GENERATOR, "-f", str(listing),
            "-p", str(self._path / "pcmu"), "-q", str(self._path / "other"), "-t", str(seconds), "-w", str(warm),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            if child.stdout.readline() != "begin\n":
                raise NotRunnableError(f"rtpload ended with {child.wait(GRACE_SECONDS)}")
            first = Snapshot.take(roots)
            child.stdout.readline()
            second = Snapshot.take(roots)
            seen = Seen.read(child.stdout.readline())
            child.wait(GRACE_SECONDS)
        usage = Usage.between(first, second)
        wrong = faults(seen, hearing)
        if usage.ended:
            wrong = (*wrong, "a process ended")
        details = {
            "in/s": seen.sent / seen.seconds,
            "out/s": seen.received / seen.seconds,
            "legs/core": len(streams) * usage.seconds / usage.cpu if usage.cpu else 0.0,
            "core %": usage.cpu / usage.seconds * 100,
            "user %": usage.user_share * 100,
            "lost": float(seen.gaps),
            "dev p50 us": float(seen.deviation_p50_us),
            "dev p99 us": float(seen.deviation_p99_us),
            "gap p50 ms": seen.gap_p50_us / 1e3,
            "gap max ms": seen.gap_max_us / 1e3,
            "sources": float(seen.sources),
            "load us": seen.cpu_seconds / max(1, seen.received) * 1e6,
            "MiB": accounting.memory_bytes(roots) / 2**20,
        }
        cost = usage.cpu / max(1, seen.received) * 1e6
        return Round(cost, wrong, usage.waited(), usage.others(seen.cpu_seconds), details)

    def close(self) -> None:
        self._folder.cleanup()


def ports(count: int, one: bool, first: int = 4000) -> list[int]:
    """Local ports of ``count`` legs: all the same, or each its own (even)."""
    return [first] * count if one else [first + 2 * number for number in range(count)]


def sdp(port: int, codec: str, number: int = -1, crypto: str = "") -> str:
    """A session of one stream at `address.GENERATOR`; ``number``: its payload type, -1: that of `TYPES`; ``crypto``: as of SRTP."""
    if number < 0:
        number = TYPES[codec]
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address.GENERATOR}\r\ns=-\r\nc=IN IP4 {address.GENERATOR}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/{'S' if crypto else ''}AVP {number}\r\na=rtpmap:{number} {MAPS[codec]}\r\na=sendrecv\r\na=ptime:20\r\n"
    ) + (f"a=crypto:{crypto}\r\n" if crypto else "")


def media_port(session: bytes) -> int:
    """Port of the first m= line.

    Raises:
        ValueError: there is none.
    """
    for line in session.splitlines():
        if line.startswith(b"m=audio "):
            return int(line.split()[1])
    raise ValueError("no m=audio line")


def payload_type(session: bytes, codec: str) -> int:
    """Payload type that a session gives a codec; that of `TYPES` where it says nothing."""
    for line in session.decode(errors="replace").splitlines():
        number, _, name = line.removeprefix("a=rtpmap:").partition(" ")
        if line.startswith("a=rtpmap:") and name.lower() == MAPS[codec].lower() and number.isdigit():
            return int(number)
    return TYPES[codec]


def crypto_tag(session: bytes) -> str:
    """Tag of the ``a=crypto`` line with the suite of `CRYPTO`.

    Raises:
        ValueError: there is none.
    """
    for line in session.decode(errors="replace").splitlines():
        tag, _, rest = line.removeprefix("a=crypto:").partition(" ")
        if line.startswith("a=crypto:") and rest.startswith(CRYPTO.split()[0]):
            return tag
    raise ValueError("no a=crypto line of the suite")
