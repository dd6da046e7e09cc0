"""A standby in the shell goes on when the kernel says that the process that ran is gone, and speaks when the agent knows too."""

import os
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from media import control
from media.config import MediaConfiguration
from media.control import MediaProcessor
from telephony.config import Jobs, MediaProcessorConfiguration
from tests.interop.waiting import wait_for
from tests.media.phone import Phone
from tests.telephony.service.unit import Unit

PUBLIC, SECRET = zmq.curve_keypair()
CONFIGURATION = MediaProcessorConfiguration(
    id="media-1",
    platform="voice",
    jobs=Jobs(curve_public=PUBLIC.decode(), curve_secret=SECRET.decode()),
    media=MediaConfiguration(host="127.0.0.1", rtp_port_first=38100, rtp_port_last=38119, legs_max=16),
)


class Scene:
    """The process that runs is played by the test: a processor over the same sockets and memory, and an end of the peer socket."""

    def __init__(self) -> None:
        self.sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for side in self.sides:
            side.bind(("127.0.0.1", 0))
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.state = os.memfd_create("state")
        self.file = os.fdopen(self.state, "r+b", buffering=0)
        sockets = {"rtp": self.sides[0].fileno(), "rtcp": self.sides[1].fileno(), "state": self.state}
        self.processor = MediaProcessor(CONFIGURATION.media, sockets, time.monotonic())
        self.phone = Phone()
        offer = control.Offer(leg="a", call="c", sdp=self.phone.offer())
        answer = self.processor.handle("offer", msgspec.msgpack.encode(offer), "router", time.monotonic())
        self.phone.take(msgspec.msgpack.decode(answer, type=control.Answer).sdp)
        self.processor.handle("connect", msgspec.msgpack.encode(control.Connect(leg="a", to=control.Echo())), "router", time.monotonic())
        given = {"rtp": self.sides[0], "rtcp": self.sides[1], "state": self.file, "peer": self.theirs}
        self.standby = Unit("media_processor", "media-1", given, standby=True)  # type: ignore[arg-type]
        self.standby.configure(CONFIGURATION, wait=False)
        self.standby.until(lambda: self.standby.ready)
        self.standby.ready = False

    def close(self) -> None:
        self.standby.stop()
        self.processor.close()
        self.phone.close()
        for each in (*self.sides, self.ours, self.theirs, self.file):
            each.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


@pytest.mark.process
def test_it_goes_on_before_the_agent_knows_and_then_says_so(scene: Scene) -> None:
    scene.phone.send(b"\x01" * 160)
    scene.theirs.close()
    scene.ours.close()
    got = wait_for(scene.phone.received, name="the standby's echo")
    assert got[0].payload == b"\x01" * 160
    scene.standby.listen(0)
    assert (scene.standby.applied, scene.standby.ready, scene.standby.remaining) == (0, False, 0), "it is no unit's process yet"
    scene.standby.take_over()
    scene.standby.until(lambda: scene.standby.applied == 1 and scene.standby.ready and scene.standby.remaining == 1)
    scene.phone.send(b"\x02" * 160)
    assert wait_for(scene.phone.received, name="more echo")[0].sequence == (got[0].sequence + 1) & 0xFFFF


@pytest.mark.process
def test_it_does_not_go_on_after_an_end_in_order(scene: Scene) -> None:
    scene.processor._desk.engine.legs.process["over"] = True
    scene.theirs.close()
    scene.ours.close()
    scene.standby.watchdog = 0
    scene.standby.until(lambda: scene.standby.watchdog)  # it has turned since
    scene.phone.send(b"\x01" * 160)
    scene.processor.tick(time.monotonic())
    assert wait_for(scene.phone.received, name="our echo")
    assert scene.processor._desk.engine.legs.process["over"][0], "nobody went on"
