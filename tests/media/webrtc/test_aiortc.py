"""aiortc as the browser: its offer is answered by our processor, ours by it; each side hears the other's tone."""

import asyncio
import fractions
import time
from collections.abc import Iterator

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame, AudioResampler

from media import control
from media.control import TICK_SECONDS
from tests.media.phone import Bench, bench
from tests.media.test_processor import level

RATE = 8000
TALK_SECONDS = 1.5
VOICE, MUSIC_MIN = 700.0, 100.0


class Voice(MediaStreamTrack):
    """A tone, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0
        self._began = time.monotonic()

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(self._began + self._at / RATE - time.monotonic(), 0.0))
        samples = (8000 * np.sin(2 * np.pi * VOICE * (self._at + np.arange(160)) / RATE)).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._at, fractions.Fraction(1, RATE)
        self._at += 160
        return frame


class Peer:
    """A peer connection and what it hears, int16 at 8 kHz."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection()
        self.connection.addTrack(Voice())
        self.heard: list[np.ndarray] = []
        self._task: asyncio.Task[None] | None = None
        self.connection.on("track", self._listen)

    def _listen(self, track: MediaStreamTrack) -> None:
        self._task = asyncio.ensure_future(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
        while True:
            for frame in resampler.resample(await track.recv()):
                self.heard.append(frame.to_ndarray()[0])

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self.connection.close()


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        made.now = time.monotonic()
        yield made


async def serve(engine: Bench, enough: "asyncio.Event | None", seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (enough and enough.is_set()):
        engine.now = time.monotonic()
        engine.processor.tick(engine.now)
        await asyncio.sleep(TICK_SECONDS)


async def talk(engine: Bench, peer: Peer) -> np.ndarray:
    enough = asyncio.Event()

    async def listen() -> None:
        while sum(map(len, peer.heard)) < (TALK_SECONDS + 0.5) * RATE:
            await asyncio.sleep(0.02)
        enough.set()

    listening = asyncio.ensure_future(listen())
    await serve(engine, enough, 15.0)
    listening.cancel()
    return np.concatenate(peer.heard)[-int(TALK_SECONDS * RATE) :]


@pytest.mark.parametrize("offerer", ["browser", "ours"])
async def test_each_side_hears_the_other(engine: Bench, offerer: str) -> None:
    peer = Peer()
    try:
        if offerer == "browser":
            await peer.connection.setLocalDescription(await peer.connection.createOffer())
            offer = peer.connection.localDescription.sdp.encode()
            answer = engine.do("offer", control.Offer(leg="x", call="c", sdp=offer))
            assert answer.codec == "opus/48000/2"
            await peer.connection.setRemoteDescription(RTCSessionDescription(answer.sdp.decode(), "answer"))
        else:
            offer = engine.do("propose", control.Propose(leg="x", call="c", protocol="UDP/TLS/RTP/SAVPF")).sdp
            await peer.connection.setRemoteDescription(RTCSessionDescription(offer.decode(), "offer"))
            await peer.connection.setLocalDescription(await peer.connection.createAnswer())
            engine.do("accept", control.Accept(leg="x", sdp=peer.connection.localDescription.sdp.encode()))
        engine.connect("x", control.Echo())
        sound = await talk(engine, peer)
        assert level(sound, VOICE) == pytest.approx(8000, rel=0.3)
        report = engine.report("x")
        assert report.packets_in > 50 and report.lost == 0
    finally:
        await peer.close()
