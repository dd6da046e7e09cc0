"""What a service's core holds: ``python -m loadtest.bench.held bindings|dialogs COUNT FOLDER``; a JSON line of bytes.

A process of its own, whose memory is nothing but the core's. Each kind is filled and emptied `TURNS` times: what is more in the last
turn than in the one before was never given back. (An emptied process keeps its arenas: some object lives in each. They are used again.)

- ``bindings``: a resource database with one binding for each user, refreshed once, then expired.
- ``dialogs``: a call router with calls to the echo service, whose other services answer at once; ended by BYE.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from media.control import Answer, Done, LegReport
from telephony.call_router.core import CallRouter
from telephony.config import CallRouterConfiguration, Jobs, Peer, ResourceDatabaseConfiguration
from telephony.core import Job
from telephony.effects import Ask, Reply, Send
from telephony.jobs.media import StepDone, Steps
from telephony.jobs.resource import Bind, BindingChange, Page, PageRead
from telephony.jobs.routing import Decision
from telephony.resource_database.core import ResourceDatabase
from telephony.sip.flow import Flow
from telephony.sip.message import Message

NO_KEYS = Jobs(curve_public="", curve_secret="")
PROXY = Flow("udp", "sip-udp", "127.0.0.1", 5060)
EXPIRES_SECONDS = 3600.0
BATCH = 256
"""Jobs that one commit covers."""
TURNS = 3
"""Filled so often; the first time allocators and caches find their size."""
SWEEPS_MAX = 100_000
QUIET_SECONDS = 64.0
"""Every transaction has ended by then."""
encode = msgspec.msgpack.Encoder().encode
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


def memory_bytes() -> int:
    """Memory of this process that is its own (RssAnon)."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


class Bindings:
    """A resource database and its users."""

    def __init__(self, count: int, folder: str) -> None:
        self._count = count
        self._path = Path(folder) / "resources.lmdb"
        self.now = 1_000_000.0
        self._core = ResourceDatabase(folder)
        self._core.configure(ResourceDatabaseConfiguration(id="database", platform="voice", jobs=NO_KEYS), self.now)
        self._cseq = 0

    def file_bytes(self) -> int:
        return os.stat(self._path).st_blocks * 512

    def fill(self) -> None:
        for _ in range(2):
            self._cseq += 1
            for number in range(self._count):
                user = f"u{number:06d}"
                change = BindingChange(
                    contact=f"sip:{user}@192.0.2.{number % 250}:{1024 + number % 60000};transport=udp;ob",
                    path=f"<sip:dWRwfHB1YmxpYy11ZHB8MTkyLjAuMi4xfDUwNjB8MHwxMjcuMC4xLjE6NTA2MA.{number:024x}@192.0.2.100:5060;lr;ob>",
                    expires_seconds=EXPIRES_SECONDS,
                    instance=f"<urn:uuid:00000000-0000-1000-8000-{number:012x}>",
                    received="192.0.2.1:5060",
                )
                body = encode(Bind(aor=user, call_id=f"{number:032x}@phone", cseq=self._cseq, bindings=[change]))
                self._core.job(Job(number, "proxy", "bind", body), self.now)
                if number % BATCH == 0:
                    self._take()
            self._take()

    def empty(self) -> None:
        self.now += EXPIRES_SECONDS + 1.0
        for _ in range(SWEEPS_MAX):
            self.now = max(self.now, self._core.deadline() or self.now)
            self._core.timeout(self.now)
            self._take()
            if not self._left():
                return
        raise SystemExit("what has expired is still there")

    def _left(self) -> bool:
        """A record is still there."""
        self._core.job(Job(0, "successor", "page", encode(Page())), self.now)
        [reply] = [effect for effect in self._core.take() if isinstance(effect, Reply)]
        return bool(msgspec.msgpack.decode(reply.body, type=PageRead).records)

    def _take(self) -> None:
        for effect in self._core.take():
            if isinstance(effect, Reply) and effect.status != "ok":
                raise SystemExit(f"not bound: {effect}")


class Dialogs:
    """A call router and its callers."""

    def __init__(self, count: int, folder: str) -> None:
        self._count = count
        self.now = 1_000_000.0
        self._core = CallRouter()
        proxies = [Peer(id="proxy", host=PROXY.host, port=PROXY.port)]
        self._core.configure(
            CallRouterConfiguration(
                id="router", platform="voice", jobs=NO_KEYS, realm="h", host="127.0.0.1", port=5070, public_host="127.0.0.1",
                public_port=5060, proxies=proxies,
            ),
            self.now,
        )  # fmt: skip
        self._round = 0
        self._tags: list[str] = []

    def file_bytes(self) -> int:
        return 0

    def fill(self) -> None:
        self._round += 1
        self._tags = []
        for number in range(self._count):
            self._receive("INVITE", number, 1, "", SDP)
            answers = [Message.parse(data) for data in self._settle()]
            answer = next((message for message in answers if message.status == 200), None)
            if answer is None:
                raise SystemExit(f"not answered: {[message.status for message in answers]}")
            self._tags.append(f";tag={answer.to_tag}")
            self._receive("ACK", number, 1, self._tags[-1], "")
            self._settle()
            self.now += 0.001
        self._pass(QUIET_SECONDS)
        if self._core.remaining() != self._count:
            raise SystemExit(f"{self._core.remaining()} calls instead of {self._count}")

    def empty(self) -> None:
        for number, tag in enumerate(self._tags):
            self._receive("BYE", number, 2, tag, "")
            self._settle()
            self.now += 0.001
        self._pass(QUIET_SECONDS)
        if self._core.remaining():
            raise SystemExit(f"{self._core.remaining()} calls are left")

    def _receive(self, method: str, number: int, cseq: int, to_tag: str, body: str) -> None:
        call = f"{self._round}-{number}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        data = (
            f"{method} sip:9196@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{call}-{method}\r\n"
            f"Record-Route: <sip:dWRwfHB1YmxpYy11ZHB8MTkyLjAuMi4xfDUwNjB8MHwxMjcuMC4xLjE6NTA2MA.{number:024x}@192.0.2.100:5060;lr>\r\n"
            f"Max-Forwards: 69\r\nFrom: <sip:guest@192.0.2.1>;tag=f{call}\r\nTo: <sip:9196@127.0.0.1>{to_tag}\r\n"
            f"Call-ID: {call}@192.0.2.1\r\nCSeq: {cseq} {method}\r\nContact: <sip:guest@192.0.2.1:5060>\r\nUser-Agent: load\r\n"
            f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self._core.receive(data, PROXY, self.now)

    def _pass(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self._core.deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self._core.timeout(self.now)
            self._settle()
        self.now = end

    def _settle(self) -> list[bytes]:
        """Let the other services answer; what was sent."""
        sent: list[bytes] = []
        while effects := self._core.take():
            for effect in effects:
                if isinstance(effect, Send):
                    sent.append(effect.data)
                elif isinstance(effect, Ask):
                    self._core.reply(effect.id, "ok", _answer(effect.operation, effect.body), effect.worker or "other", self.now)
        return sent


def _answer(operation: str, body: bytes) -> bytes:
    if operation == "steps":
        steps = msgspec.msgpack.decode(body, type=Steps).steps
        return encode([StepDone("ok", _answer(step.operation, step.body)) for step in steps])
    if operation == "route":
        return encode(Decision(action="echo", target="9196"))
    if operation == "offer":
        return encode(Answer(sdp=SDP.encode(), codec="PCMU/8000"))
    if operation == "release":
        numbers = {field.name: 0 for field in msgspec.structs.fields(LegReport) if field.type in (int, float)}
        texts = {field.name: "" for field in msgspec.structs.fields(LegReport) if field.type is str}
        return encode(msgspec.convert({**numbers, **texts, "leg": "", "call": ""}, LegReport, strict=False))
    return encode(Done())


KINDS: dict[str, Callable[[int, str], Bindings | Dialogs]] = {"bindings": Bindings, "dialogs": Dialogs}


def main(arguments: list[str]) -> None:
    kind, count, folder = arguments[0], int(arguments[1]), arguments[2]
    KINDS[kind](100, folder).fill() if kind == "dialogs" else None  # what is loaded at first use is not what is held
    held = KINDS[kind](count, folder)
    seen: dict[str, int] = {"empty": memory_bytes()}
    for turn in range(1, TURNS + 1):
        held.fill()
        seen[f"full {turn}"], seen[f"file {turn}"] = memory_bytes(), held.file_bytes()
        held.empty()
        seen[f"emptied {turn}"] = memory_bytes()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1:])
