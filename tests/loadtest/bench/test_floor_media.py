"""The floor of media figures does the kernel's part of the work, and no less."""

import shutil
import socket

import pytest

from loadtest.bench import address
from loadtest.bench.floor_media import MediaFloor
from loadtest.bench.rtp import SPEECH

pytestmark = [pytest.mark.process, pytest.mark.skipif(shutil.which("gcc") is None, reason="waits for gcc (apt-get install gcc)")]


def peers(count: int) -> list[socket.socket]:
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for each in opened:
        each.bind((address.GENERATOR, 0))
        each.settimeout(5.0)
    return opened


@pytest.mark.parametrize("own", [False, True])
def test_what_comes_from_one_side_of_a_call_goes_to_the_other(own: bool) -> None:
    phones, floor = peers(2), MediaFloor()
    try:
        ports = [phone.getsockname()[1] for phone in phones]
        streams = floor.calls(ports * (2 if own else 1), "pcmu")
        assert len({stream.to for stream in streams}) == (4 if own else 1)
        for number, stream in enumerate(streams):
            phones[number % 2].sendto(b"%d" % number * 172, (stream.host, stream.to))
            data, source = phones[1 - number % 2].recvfrom(2048)
            assert data == b"%d" % number * 172 and source == (address.FLOOR, streams[number ^ 1].to)
    finally:
        floor.stop()
        for phone in phones:
            phone.close()


def test_every_leg_of_a_room_is_sent_a_packet_again_and_again() -> None:
    phones, floor = peers(3), MediaFloor()
    try:
        floor.rooms([[(phone.getsockname()[1], SPEECH) for phone in phones]])
        for phone in phones:
            first, second = phone.recv(2048), phone.recv(2048)
            assert len(first) == len(second) == 172
            assert int.from_bytes(second[2:4], "big") == int.from_bytes(first[2:4], "big") + 1
    finally:
        floor.stop()
        for phone in phones:
            phone.close()
