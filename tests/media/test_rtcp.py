"""RTCP packets byte for byte, and reports of a real tshark's reading."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from media.arrays import U8
from media.config import MediaConfiguration
from media.datagrams import Inbox
from media.legs import Legs
from media.rtcp import ReportsIn, ReportsOut, middle
from media.sockets import Sockets
from media.srtp.guard import Guard

CONFIGURATION = MediaConfiguration(host="127.0.0.1", rtp_port_first=44000, rtp_port_last=44099)


def made() -> tuple[Legs, ReportsOut]:
    legs = Legs(2)
    leg = legs.take(0.0)
    assert leg == 0
    sockets = Sockets(CONFIGURATION, {})
    out = ReportsOut(legs, sockets, Guard(legs, Inbox()), np.random.default_rng(1))
    legs.cname[0] = np.frombuffer(b"abcdefghijklmnop", np.uint8)
    legs.ssrc_out[0], legs.packets_out[0], legs.bytes_out[0] = 0x11223344, 7, 1120
    legs.timestamp_out[0], legs.clock_out[0], legs.clock[0] = 1000, 99.99, 8000.0
    legs.ssrc_in[0] = 0x55667788
    legs.sequence_first[0], legs.sequence_max[0], legs.received[0] = 65536 + 10, 65536 + 109, 95
    legs.jitter[0] = 24.7
    legs.remote_ntp[0], legs.remote_report[0] = 0xCAFE0001, 98.5
    sockets.close()
    return legs, out


def test_a_sender_report_is_laid_out_as_in_the_rfc() -> None:
    _, out = made()
    packet = bytes(out.build(np.array([0]), 100.0, True, True, True)[0])
    expected = struct.pack(">BBHIIIIII", 0x81, 200, 12, 0x11223344, 100, 0, 1000 + 80, 7, 1120)
    expected += struct.pack(">IIIIII", 0x55667788, (5 * 256 // 100) << 24 | 5, 65536 + 109, 24, 0xCAFE0001, int(1.5 * 65536))
    expected += struct.pack(">BBHI", 0x81, 202, 6, 0x11223344) + b"\x01\x10abcdefghijklmnop\0\0"
    expected += struct.pack(">BBHI", 0x81, 203, 1, 0x11223344)
    assert packet == expected


@pytest.mark.parametrize(("sender", "block", "size"), [(True, True, 80), (True, False, 56), (False, True, 60), (False, False, 36)])
def test_every_form_is_a_whole_compound(sender: bool, block: bool, size: int) -> None:
    _, out = made()
    packet = bytes(out.build(np.array([0]), 100.0, sender, block, False)[0])
    assert len(packet) == size
    words = 1 + int.from_bytes(packet[2:4], "big")
    assert packet[4 * words] == 0x81 and packet[4 * words + 1] == 202
    assert 4 * words + 28 == size


def test_loss_is_of_the_interval() -> None:
    legs, out = made()
    out.build(np.array([0]), 100.0, True, True, False)
    legs.sequence_max[0] += 100
    legs.received[0] += 75
    packet = bytes(out.build(np.array([0]), 105.0, True, True, False)[0])
    assert packet[32] == 64 and int.from_bytes(packet[33:36], "big") == 30


@pytest.mark.interop
@pytest.mark.skipif(not shutil.which("tshark"), reason="waits for tshark (Debian: tshark)")
def test_tshark_reads_it(tmp_path: Path) -> None:
    _, out = made()
    payload = bytes(out.build(np.array([0]), 100.0, True, True, True)[0])
    udp = struct.pack(">HHHH", 5005, 5005, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1])) + udp
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + struct.pack("<IIII", 1, 0, len(ip), len(ip)) + ip
    (tmp_path / "rtcp.pcap").write_bytes(capture)
    fields = ["rtcp.pt", "rtcp.senderssrc", "rtcp.ssrc.fraction", "rtcp.ssrc.jitter", "rtcp.sdes.text", "_ws.malformed"]
    command = ["tshark", "-r", str(tmp_path / "rtcp.pcap"), "-d", "udp.port==5005,rtcp", "-T", "fields"]
    text = subprocess.run(command + [word for name in fields for word in ("-e", name)], capture_output=True, check=True, text=True).stdout
    kinds, ssrc, fraction, jitter, name, malformed = text.rstrip("\n").split("\t")
    assert (kinds, ssrc, fraction, jitter, name, malformed) == ("200,202,203", "0x11223344", "12", "24", "abcdefghijklmnop", "")


def take(packets: list[bytes], now: float) -> Legs:
    legs, _ = made()
    inbox = Inbox()
    for row, packet in enumerate(packets):
        inbox.data[row, : len(packet)] = np.frombuffer(packet, np.uint8)
        inbox.length[row] = len(packet)
    ReportsIn(legs, inbox).take(np.arange(len(packets)), np.zeros(len(packets), np.intp), now)
    return legs


def report(now: float, of: int = 0x11223344) -> bytes:
    block = struct.pack(">IIIIII", of, 25 << 24 | 0xFFFFFE, 5, 80, middle(now - 0.75), int(0.5 * 65536))
    sender = struct.pack(">BBHIIIIII", 0x82, 200, 18, 0x55667788, 0xABCD1234, 0x56780000, 0, 0, 0)
    return sender + struct.pack(">IIIIII", 1, 2, 3, 4, 5, 6) + block


def test_what_a_peer_reports() -> None:
    legs = take([report(50.0)], 50.0)
    assert (legs.remote_lost[0], legs.remote_fraction[0], legs.remote_jitter[0]) == (-2, 25, 80.0)
    assert legs.round_trip[0] == pytest.approx(0.25, abs=1e-4)
    assert (legs.remote_ntp[0], legs.remote_report[0]) == (0x12345678, 50.0)


def test_bye_counts_for_its_source_alone() -> None:
    head = report(50.0)
    assert not take([head + struct.pack(">BBHI", 0x81, 203, 1, 99)], 50.0).left[0]
    assert take([head + struct.pack(">BBHI", 0x81, 203, 1, 0x55667788)], 50.0).left[0]


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_cut_packets_are_borne(seed: int) -> None:
    rng = np.random.default_rng(seed)
    packets = []
    for _ in range(60):
        data = bytearray(report(50.0) + bytes(rng.integers(0, 256, 40, dtype=np.uint8)))
        for _ in range(int(rng.integers(0, 6))):
            data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
        packets.append(bytes(data[: int(rng.integers(0, len(data) + 1))]))
    take(packets, 50.0)


def test_rows_are_bytes() -> None:
    _, out = made()
    rows: U8 = out.build(np.array([0, 1]), 100.0, False, False, False)
    assert rows.shape == (2, 36) and rows.dtype == np.uint8
