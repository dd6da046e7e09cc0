"""Sound files that are no WAV: read where PyAV is, refused clearly where it is not."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from media import compressed, control, g711
from media.bank import Bank, BankError
from media.compressed import CompressedError
from tests.media.phone import bench
from tests.media.test_sources import level

needs_av = pytest.mark.skipif(not compressed.available(), reason="waits for PyAV (extra dev)")


def encode(path: Path) -> None:
    sound = "sine=frequency=1000:sample_rate=48000:duration=1"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", sound, "-af", "volume=4", "-ac", "2", str(path)], check=True)


@needs_av
@pytest.mark.interop
@pytest.mark.parametrize("name", ["a.mp3", "a.opus", "a.ogg", "a.flac", "a.m4a"])
def test_a_leg_hears_it(tmp_path: Path, name: str) -> None:
    encode(tmp_path / name)
    with bench() as engine:
        phone = engine.phone("a")
        engine.connect("a", control.Play(str(tmp_path / name), loop=False))
        got = []

        def over() -> bool:
            got.extend(phone.received())
            return bool(engine.events())

        engine.until(over, 2000)
        sound = g711.decode(np.frombuffer(b"".join(packet.payload for packet in got), np.uint8), g711.MU).astype(float)
        assert len(sound) == pytest.approx(8000, abs=800)
        # As FFmpeg makes both channels; its MP3 is 5 % lower, by its own decoder too.
        assert level(sound[1600:6400], 1000, 8000) == pytest.approx(4 * 4095 / np.sqrt(2), rel=0.08)


@needs_av
def test_a_playlist_and_noise_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.mp3").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    (tmp_path / "noise.ogg").write_bytes(np.random.default_rng(1).bytes(5000))
    for name in ("list.mp3", "noise.ogg"):
        with pytest.raises(CompressedError):
            compressed.read(str(tmp_path / name))


def test_without_pyav_it_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp3").write_bytes(b"\xff\xfb")
    monkeypatch.setattr(compressed, "find_spec", lambda name: None)
    with pytest.raises(BankError, match="PyAV"):
        Bank().find(str(tmp_path / "a.mp3"))
