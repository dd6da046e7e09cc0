"""RTP: whatever is sent to a leg of any codec, in a room or relayed, nothing raises, and what is counted is what was sent.

An input is the leg's kind and then datagrams: ticks before it, a length, its bytes. With the length's highest bit the header is made to be
a right one, so that the payload is looked at.
"""

import functools
import struct

import numpy as np

from media import coders, control
from tests.media.phone import Bench, Phone, drain

KINDS = [
    ("0 101", "a=rtpmap:101 telephone-event/8000\r\n", 0, 160),
    ("8 13", "", 8, 160),
    ("97", "a=rtpmap:97 L16/8000\r\n", 97, 160),
    ("97", "a=rtpmap:97 L16/16000\r\n", 97, 320),
    *([("96 101", "a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/48000\r\n", 96, 960)] if coders.OPUS else []),
    *([("9", "", 9, 160)] if coders.G_722 else []),
]
"""Formats, attributes, payload type, samples of 20 ms."""
WAYS = 3
"""In a room, relayed, an echo."""
VALID = 0x8000
DATAGRAMS_MAX = 16


def _datagram(ticks: int, data: bytes, valid: bool = True) -> bytes:
    return struct.pack(">BH", ticks, len(data) | (VALID if valid else 0)) + data


def seeds() -> list[bytes]:
    """A stream of each kind, events, comfort noise, headers with all that they may have, reports on the same port."""
    found = []
    for kind in range(len(KINDS)):
        for way in range(WAYS):
            sound = bytes((7 * place + kind) & 0xFF for place in range(320))
            found.append(bytes([kind + len(KINDS) * way]) + b"".join(_datagram(4, sound[:size]) for size in (160, 80, 320, 160, 1, 0)))
    odd = struct.pack(">BBHII", 0xB1, 0x80, 1, 160, 9) + b"csrc\xbe\xde\0\x01\x10\xffab" + b"\xff" * 160 + b"\0\0\0\4"
    report = struct.pack(">BBHI", 0x81, 201, 7, 9) + bytes(24)
    event = struct.pack(">BBHII", 0x80, 0x80 | 101, 2, 320, 9) + b"\x05\x8a\x01\xe0"
    noise = struct.pack(">BBHII", 0x80, 13, 3, 480, 9) + b"\x40\x10\x20"
    return [*found, b"\0" + b"".join(_datagram(2, data, False) for data in (odd, report, event, noise))]


@functools.cache
def _bench() -> tuple[Bench, Phone]:
    """An engine, and a phone that everybody may hear or be heard by."""
    bench = Bench(legs_max=4)
    other = bench.phone("other")
    return bench, other


def check(data: bytes) -> None:
    bench, other = _bench()
    number = data[0] if data else 0
    formats, extra, kind, samples = KINDS[number % len(KINDS)]
    way = number // len(KINDS) % WAYS
    phone = Phone(ssrc=9)
    try:
        phone.take(bench.do("offer", control.Offer(leg="x", call="x", sdp=phone.offer(formats=formats, extra=extra))).sdp)
        sinks: list[control.Sink] = [control.Room("r"), control.Bridge("other"), control.Echo()]
        bench.connect("x", sinks[way])
        if way == 0:
            bench.connect("other", control.Room("r"))
        sent, place = 0, 1
        while place + 3 <= len(data) and sent < DATAGRAMS_MAX:
            ticks, size = struct.unpack_from(">BH", data, place)
            content = data[place + 3 : place + 3 + (size & ~VALID)]
            place += 3 + len(content)
            if size & VALID:
                phone.send(content, kind=kind, step=samples)
            else:
                phone.raw(content)
            sent += 1
            bench.ticks(1 + ticks % 8)
        bench.ticks(4)
        report = bench.do("release", control.Release(leg="x"))
    finally:
        phone.close()
        drain(other.socket)
        drain(other.rtcp)
    assert report.packets_in + report.refused <= sent
    assert report.late <= sent
    assert report.bytes_in <= len(data)
    assert np.isfinite([report.jitter_ms, report.round_trip_ms, report.buffer_ms, report.r_factor, report.mos]).all()
    assert 1.0 <= report.mos <= 4.5
    for _, name, event in bench.events():
        assert name != "dtmf" or event.digit in "0123456789*#ABCD"
    assert bench.processor.legs() == 1
