"""What a tick does is bounded, whatever one leg sends, and does not grow with the packets: by counting."""

import gc
import sys
from typing import Any

import numpy as np
import pytest

from media import datagrams, receive
from media.control import Echo, Room
from media.packets import Rows
from media.receive import Receiver
from tests.media.phone import bench

SPEECH = bytes(np.random.default_rng(1).integers(0, 256, 160, dtype=np.uint8))


def test_a_flood_of_one_leg_takes_no_more_rounds_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    taken = Receiver._packets

    def count(self: Receiver, rows: Rows, now: float) -> None:
        rounds.append(len(rows.row))
        taken(self, rows, now)

    monkeypatch.setattr(Receiver, "_packets", count)
    with bench() as engine:
        flood, quiet = engine.phone("flood"), engine.phone("quiet")
        engine.connect("flood", Echo())
        engine.connect("quiet", Echo())
        first = 40
        for _ in range(first):
            flood.send(SPEECH)
        engine.ticks(4)
        assert len(flood.received()) == first, "what waited in a pause is taken in order"
        for tick in range(60):
            rounds.clear()
            for _ in range(400):
                flood.send(SPEECH)
            quiet.send(SPEECH)
            engine.ticks()
            if tick > receive.ROUNDS_MAX:
                assert len(rounds) <= 2 + receive.ROUNDS_PER_SECOND * 0.005 + 1
        assert len(quiet.received()) == 60, "others get theirs"
        assert engine.report("flood").refused > 1000


def calls_of(legs: int) -> int:
    """Functions that four ticks of so many talking legs call, at most."""
    most = 0
    with bench(legs_max=128) as engine:
        phones = [engine.phone(f"{number}") for number in range(legs)]
        for number in range(legs):
            engine.connect(f"{number}", Room(f"{number // 4}"))
        for _ in range(6):
            for phone in phones:
                phone.send(SPEECH)
            engine.ticks(4)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                for phone in phones:
                    phone.send(SPEECH)
                made = 0

                def count(frame: Any, event: str, argument: Any) -> None:
                    nonlocal made
                    made += event in ("call", "c_call")

                sys.setprofile(count)
                engine.ticks(4)
                sys.setprofile(None)
                most = max(most, made)
        finally:
            sys.setprofile(None)
            gc.enable()
    return most


def test_calls_of_a_tick_do_not_grow_with_its_packets() -> None:
    few, many = calls_of(8), calls_of(96)
    assert many <= few * 1.05 + 5, f"{few} calls for 8 legs, {many} for 96"


def test_system_calls_of_a_tick_are_those_of_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"receive": 0, "send": 0}
    receive_, send = datagrams._recvmmsg, datagrams._sendmmsg
    with bench(legs_max=128) as engine:
        phones = [engine.phone(f"{number}") for number in range(96)]
        for number in range(96):
            engine.connect(f"{number}", Room(f"{number // 4}"))

        def counted(name: str, call: Any) -> Any:
            def one(*arguments: Any) -> Any:
                calls[name] += 1
                return call(*arguments)

            return one

        monkeypatch.setattr(datagrams, "_recvmmsg", counted("receive", receive_))
        monkeypatch.setattr(datagrams, "_sendmmsg", counted("send", send))
        for _ in range(10):
            for phone in phones:
                phone.send(SPEECH)
            engine.ticks(4)
        assert calls == {"receive": 20, "send": 10}, "RTP and RTCP are asked once in 20 ms, and all legs are sent by one call"
        assert all(len(phone.received()) == 10 for phone in phones)
