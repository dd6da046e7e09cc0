"""What a real tshark reads in datagrams: per packet, or a summary (Debian: tshark)."""

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="waits for tshark (Debian: tshark)")


class Datagram(NamedTuple):
    """One UDP datagram on loopback."""

    seconds: float
    source: int
    """Port."""
    target: int
    data: bytes


def write(path: Path, datagrams: Sequence[Datagram]) -> None:
    """A capture (pcap, raw IP) of them."""
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    host = bytes([127, 0, 0, 1])
    for number, one in enumerate(datagrams):
        udp = struct.pack(">HHHH", one.source, one.target, 8 + len(one.data), 0) + one.data
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0, host, host) + udp
        seconds, fraction = divmod(round(one.seconds * 1_000_000), 1_000_000)
        capture += struct.pack("<IIII", seconds, fraction, len(ip), len(ip)) + ip
    path.write_bytes(capture)


def fields(path: Path, names: Sequence[str], decode: Sequence[str]) -> list[dict[str, str]]:
    """Fields of each packet by name; ``decode``: as ``-d`` wants them (``udp.port==5005,rtcp``)."""
    command = ["tshark", "-r", str(path), "-T", "fields"]
    command += [word for rule in decode for word in ("-d", rule)] + [word for name in names for word in ("-e", name)]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [dict(zip(names, line.split("\t"), strict=True)) for line in text.splitlines()]


class Stream(NamedTuple):
    """A stream of RTP, as the whole capture shows it."""

    ssrc: int
    packets: int
    lost: int
    jitter_mean_ms: float
    jitter_max_ms: float


def streams(path: Path, decode: Sequence[str]) -> dict[int, Stream]:
    """Its summary of RTP streams (``-z rtp,streams``), by SSRC."""
    command = ["tshark", "-q", "-r", str(path), "-z", "rtp,streams"] + [word for rule in decode for word in ("-d", rule)]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    rows = [words for words in map(str.split, text.splitlines()) if len(words) >= 17 and words[6].startswith("0x")]
    found = [Stream(int(row[6], 16), int(row[8]), int(row[9]), float(row[15]), float(row[16])) for row in rows]
    return {stream.ssrc: stream for stream in found}
