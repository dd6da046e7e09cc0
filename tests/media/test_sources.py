"""What can be played: built-in sources, WAV files of every form, and what is no WAV file."""

import io
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from media import control, g711, sources, wav
from media.bank import Bank, BankError
from tests.media.phone import bench


def level(samples: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", frequency: float, rate: int) -> float:
    turn = np.exp(-2j * np.pi * frequency * np.arange(len(samples)) / rate)
    return float(2 * abs(np.mean(samples * turn)))


def test_built_in_sources_are_whole_frames_without_clicks() -> None:
    for name, samples in sources.built_in().items():
        assert len(samples) % 160 == 0, name
        assert abs(int(samples[0]) - int(samples[-1])) < 1500, name
        assert np.abs(np.diff(samples.astype(int))).max() < 9000, name
    assert 8000 < np.abs(sources.melody()).max() <= 9000


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_dtmf_has_its_two_frequencies(digit: str) -> None:
    samples = sources.dtmf(digit).astype(float)
    power = {frequency: level(samples, frequency, 8000) for frequency in (*sources.DTMF_LOW, *sources.DTMF_HIGH)}
    loudest = sorted(power, key=power.__getitem__)[-2:]
    row, column = divmod("123A456B789C*0#D".index(digit), 4)
    assert sorted(loudest) == [sources.DTMF_LOW[row], sources.DTMF_HIGH[column]]


@pytest.mark.interop
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("coding", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_alaw", "pcm_mulaw"])
def test_files_of_every_form_are_read(tmp_path: Path, rate: int, coding: str) -> None:
    path = tmp_path / "tone.wav"
    sound = f"sine=frequency=1000:sample_rate={rate}:duration=1"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", sound, "-af", "volume=4", "-c:a", coding, "-ac", "2", str(path)]
    subprocess.run(command, check=True)
    with open(path, "rb") as file:
        samples, found = wav.read(file)
    assert found == rate and len(samples) == pytest.approx(rate, abs=2)
    turned = wav.at_rate(samples, found, 8000)
    assert len(turned) == pytest.approx(8000, abs=2)
    assert level(turned[800:7200], 1000, 8000) == pytest.approx(level(samples, 1000, rate), rel=0.02)


def test_what_is_written_is_read() -> None:
    data = np.arange(-800, 800, dtype=np.int16)
    samples, rate = wav.read(io.BytesIO(wav.header(8000, 1, len(data) * 2) + data.tobytes()))
    assert rate == 8000 and np.array_equal(samples, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF1234WAVE",
        b"RIFF1234WAVEdata\4\0\0\0abcd",
        b"RIFF1234WAVEfmt \2\0\0\0ab",
        b"RIFF1234WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 0, 8000, 0, 0, 16) + b"data\0\0\0\0",
        b"RIFF1234WAVEfmt " + struct.pack("<IHHIIHH", 16, 85, 1, 8000, 0, 0, 16) + b"data\0\0\0\0",
        b"RIFF1234WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 0, 0, 13) + b"data\0\0\0\0",
    ],
)
def test_what_is_no_wav_file_is_said_so(data: bytes) -> None:
    with pytest.raises(wav.WavError):
        wav.read(io.BytesIO(data))


def write_tone(path: Path, frequency: float, seconds: float) -> None:
    time = np.arange(round(8000 * seconds)) / 8000
    data = (6000 * np.sin(2 * np.pi * frequency * time)).astype(np.int16)
    path.write_bytes(wav.header(8000, 1, 2 * len(data)) + data.tobytes())


def test_a_file_is_played_once_it_was_read_and_its_end_is_told(tmp_path: Path) -> None:
    write_tone(tmp_path / "hello.wav", 700, 0.5)
    with bench() as engine:
        phone = engine.phone("a")
        engine.connect("a", control.Play(str(tmp_path / "hello.wav"), loop=False))
        packets = []
        ended = []

        def over() -> bool:
            packets.extend(phone.received())
            ended.extend(engine.events())
            return bool(ended)

        engine.until(over)
        assert len(packets) == 25
        sound = g711.decode(np.frombuffer(b"".join(packet.payload for packet in packets), np.uint8), g711.MU).astype(float)
        assert level(sound, 700, 8000) == pytest.approx(6000, rel=0.03)
        assert [(name, event.leg, event.id) for _, name, event in ended] == [("play-ended", "a", "")]


def test_a_room_hears_a_file_and_can_be_recorded(tmp_path: Path) -> None:
    with bench() as engine:
        phones = [engine.phone("a"), engine.phone("b")]
        for name in ("a", "b"):
            engine.connect(name, control.Room("3000"))
        recording = engine.do("record", control.Record(room="3000", path=str(tmp_path / "room.wav")))
        started = engine.do("play", control.PlayTo(room="3000", source="beep"))
        for _ in range(15):
            for phone in phones:
                phone.send(b"\xff" * 160)
            engine.ticks(4)
        for phone in phones:
            got = b"".join(packet.payload for packet in phone.received())
            sound = g711.decode(np.frombuffer(got, np.uint8), g711.MU).astype(float)
            assert level(sound[160:1440], 1000, 8000) > 4500
        assert [(name, event.id, event.room) for _, name, event in engine.events()] == [("play-ended", started.id, "3000")]
        engine.do("stop", control.Stop(id=recording.id))
        engine.processor.close()
        with open(tmp_path / "room.wav", "rb") as file:
            samples, _ = wav.read(file)
        assert len(samples) >= 14 * 160 and level(samples[160:1440], 1000, 8000) > 4500


def test_what_is_not_there_is_said() -> None:
    bank = Bank()
    with pytest.raises(BankError, match="no source"):
        bank.find("/nowhere/at-all.wav")


def test_a_file_that_can_not_be_read_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"this is not sound")
    with bench() as engine:
        engine.phone("a")
        engine.connect("a", control.Play(str(tmp_path / "bad.wav")))
        engine.until(lambda: bool(engine.events()))
        assert engine.report("a").connected_to == "nothing"
