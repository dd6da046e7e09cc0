"""rtpengine in user space as the peer, driven by its control protocol (ng)."""

import resource
import socket

from loadtest.bench import address, bencode, packages
from loadtest.bench.process import NotRunnableError, Process
from loadtest.bench.rtp import CRYPTO, Stream, crypto_tag, media_port, payload_type, sdp

CONTROL_PORT = 2223
PORT_FIRST, PORT_LAST = 22000, 64000
THREADS = 2
ATTEMPTS = 5
TRANSCODE = {"pcma": "PCMA", "opus": "opus/48000/2"}


class Rtpengine:
    """A running rtpengine."""

    name = "rtpengine"

    def __init__(self) -> None:
        packages.need("rtpengine")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.process = Process([
            packages.program("rtpengine"), "--table=-1", f"--interface={address.RTPENGINE}",
            f"--listen-ng={address.RTPENGINE}:{CONTROL_PORT}", "--foreground", "--log-stderr", "--log-level=2",
            f"--port-min={PORT_FIRST}", f"--port-max={PORT_LAST}", f"--num-threads={THREADS}", "--timeout=3600", "--silent-timeout=3600",
        ])  # fmt: skip
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._control.connect((address.RTPENGINE, CONTROL_PORT))
        self._count = 0
        try:
            self.process.wait_until(self._ready)
        except NotRunnableError:
            self.stop()
            raise

    def _ready(self) -> bool:
        self._control.settimeout(0.1)
        try:
            return self.ask({"command": "ping"}, 1).get("result") == b"pong"
        except (OSError, NotRunnableError):
            return False

    def ask(self, request: dict[str, bencode.Value], attempts: int = ATTEMPTS) -> dict[str, bencode.Value]:
        """One request of the control protocol.

        Raises:
            NotRunnableError: no answer, or an error.
        """
        self._count += 1
        cookie = b"bench%d" % self._count
        for _ in range(attempts):
            self._control.send(cookie + b" " + bencode.encode(request))
            try:
                while True:
                    got, _, body = self._control.recv(65536).partition(b" ")
                    if got == cookie:
                        break
            except TimeoutError:
                continue
            answer = bencode.decode(body)
            if not isinstance(answer, dict) or answer.get("result") == b"error":
                raise NotRunnableError(f"rtpengine: {answer!r}")
            return answer
        raise NotRunnableError("rtpengine does not answer")

    def calls(self, ports: list[int], codec: str, secured: bool = False) -> list[Stream]:
        """Make calls between consecutive ports, PCMU on the first side and ``codec``, perhaps in SRTP, on the other."""
        self._control.settimeout(2.0)
        streams = []
        for number in range(len(ports) // 2):
            first, second = ports[2 * number], ports[2 * number + 1]
            identity: dict[str, bencode.Value] = {
                "call-id": f"c{number}", "from-tag": f"a{number}", "ICE": "remove", "replace": ["origin"], "rtcp-mux": ["demux"],
            }  # fmt: skip
            offer: dict[str, bencode.Value] = {"command": "offer", "sdp": sdp(first, "pcmu"), **identity}
            if codec != "pcmu":
                offer["codec"] = {"mask": ["all"], "transcode": [TRANSCODE[codec]]}
            if secured:
                offer["transport-protocol"] = "RTP/SAVP"
            towards = self.ask(offer)["sdp"]
            assert isinstance(towards, bytes)
            kind = payload_type(towards, codec)
            crypto = f"{crypto_tag(towards)} {CRYPTO}" if secured else ""
            back = self.ask({"command": "answer", "sdp": sdp(second, codec, kind, crypto), "to-tag": f"b{number}", **identity})["sdp"]
            assert isinstance(back, bytes)
            streams.append(Stream(first, address.RTPENGINE, media_port(back)))
            streams.append(Stream(second, address.RTPENGINE, media_port(towards), codec=codec, type=kind, secured=secured))
        return streams

    def roots(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self.process.stop()
        self._control.close()
