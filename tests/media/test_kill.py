"""kill -9 of a processor under calls: a warm standby goes on, and no phone loses a packet."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.interop.waiting import wait_for
from tests.media.phone import Phone

ROUNDS, KILL_AT = 100, 40
LEGS = 6


def start(kept: list[int], role: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.media.processor_process", *map(str, kept), role]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=kept)


Heard = list[tuple[float, int, int, bytes]]
"""When, SSRC, sequence number, payload."""


def collect(phones: list[Phone], got: list[Heard]) -> None:
    for phone, found in zip(phones, got, strict=True):
        found += [(time.monotonic(), packet.ssrc, packet.sequence, packet.payload) for packet in phone.received()]


@pytest.mark.process
def test_no_packet_is_lost_and_the_streams_go_on() -> None:
    sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for side in sides:
        side.bind(("127.0.0.1", 0))
    state = os.memfd_create("state")
    kept = [sides[0].fileno(), sides[1].fileno(), state]
    processes = []
    phones = [Phone(ssrc=number + 1) for number in range(LEGS)]
    try:
        first = start(kept, "first")
        processes.append(first)
        standby = start(kept, "standby")
        processes.append(standby)
        assert first.stdin and first.stdout and standby.stdin and standby.stdout
        assert standby.stdout.readline() == "warm\n"
        for number, phone in enumerate(phones):
            first.stdin.write(f"leg{number} {phone.port} {'echo' if number < 3 else 'room'}\n")
            first.stdin.flush()
            phone.to = ("127.0.0.1", int(first.stdout.readline()))
        first.stdin.write("\n")
        first.stdin.flush()
        got: list[Heard] = [[] for _ in phones]
        due = time.monotonic()
        for number in range(ROUNDS):
            if number == KILL_AT:
                first.send_signal(signal.SIGKILL)
                first.wait()
                standby.stdin.write("\n")
                standby.stdin.flush()
            for phone in phones:
                phone.send(bytes([number]) * 160)
            due += 0.02
            collect(phones, got)
            while time.monotonic() < due:
                time.sleep(0.001)
                collect(phones, got)
        assert standby.stdout.readline() == f"{LEGS}\n"
        # A machine that is busy is late, no more: what was sent comes.
        wait_for(lambda: collect(phones, got) or all(len(found) >= ROUNDS - 2 for found in got[:3]), name="what the echo sends")
        for found in got:
            assert len({ssrc for _, ssrc, _, _ in found}) == 1
            first_number = found[0][2]
            assert [sequence for _, _, sequence, _ in found] == [(first_number + number) & 0xFFFF for number in range(len(found))]
            print("longest gap, ms:", round(1000 * max(after[0] - before[0] for before, after in itertools.pairwise(found))))
        for found in got[:3]:
            assert [payload[0] for _, _, _, payload in found] == list(range(len(found)))
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        for phone in phones:
            phone.close()
        for side in sides:
            side.close()
        os.close(state)
