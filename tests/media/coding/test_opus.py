"""Opus: FFmpeg's own decoder hears the same, settings do what they say, gaps are filled, and a state outlives its process."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media.coding import libopus
from media.coding.codec import StateError
from media.coding.opus import RATES, Opus
from media.coding.opus_parameters import EncoderSettings
from tests.media.coding.opus_successor import run
from tests.media.sounds import snr, speech, tone

try:
    libopus.library()
except libopus.OpusMissingError:
    pytest.skip("waits for libopus (Debian: libopus0)", allow_module_level=True)


class Pair:
    """An encoder and a decoder of one leg."""

    def __init__(self, rate: int = 48000, channels: int = 1, wanted: EncoderSettings | None = None, legs: int = 1) -> None:
        self.codec = Opus(rate, channels, wanted)
        self.rows = np.arange(legs)
        self.encoder = np.zeros((legs, self.codec.encoder_bytes), np.uint8)
        self.decoder = np.zeros((legs, self.codec.decoder_bytes), np.uint8)
        self.codec.reset_encoder(self.encoder, self.rows)
        self.codec.reset_decoder(self.decoder, self.rows)

    def encode(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.codec.encode(self.encoder, self.rows, frame)

    def decode(self, payload: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.codec.decode(self.decoder, self.rows, payload, lengths)

    def packets(self, sound: np.ndarray, frame: int) -> list[bytes]:
        return [payload[0, : lengths[0]].tobytes() for payload, lengths in map(self.encode, sound.reshape(-1, 1, frame))]


def row_of(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(data, np.uint8)[None], np.array([len(data)], np.int32)


def best_snr(wanted: np.ndarray, heard: np.ndarray, delay_max: int) -> float:
    """SNR at the delay that fits best."""
    return max(snr(wanted[: len(wanted) - delay], heard[delay : len(wanted)]) for delay in range(delay_max))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_there_and_back(rate: int, channels: int) -> None:
    pair = Pair(rate, channels, EncoderSettings(bit_rate=96000 * channels, music=True))
    sound = np.repeat(speech(rate, 0.6), channels)
    heard = []
    for frame in sound.reshape(30, 1, -1):
        samples, counts = pair.decode(*pair.encode(frame))
        assert counts.tolist() == [rate // 50 * channels]
        heard.append(samples[0])
    assert best_snr(sound[::channels], np.concatenate(heard)[::channels], rate // 100) > 12


STREAMS = [(8000, 16000), (16000, 24000), (48000, 32000), (48000, 96000)]


def heard_by(name: str, packets: list[bytes]) -> np.ndarray:
    """float64[samples] at 48 kHz, as 16-bit samples are scaled: what a decoder of FFmpeg makes of the packets."""
    av = pytest.importorskip("av")
    peer = av.CodecContext.create(name, "r")
    peer.layout, peer.sample_rate = "mono", 48000
    frames = [frame.to_ndarray()[0] for data in packets for frame in peer.decode(av.Packet(data))]
    return np.concatenate([frame / (1 if frame.dtype == np.int16 else 1 / 32768) for frame in frames])


@pytest.mark.parametrize(("rate", "bit_rate"), STREAMS)
def test_ffmpeg_hears_the_same(rate: int, bit_rate: int) -> None:
    """FFmpeg's own Opus decoder, written apart from libopus.

    Speech modes are 8 to 16 kHz inside; libopus raises them to 48 kHz by all-pass filters, FFmpeg with linear phase: hence 18 dB there.
    """
    packets = Pair(rate, 1, EncoderSettings(bit_rate=bit_rate)).packets(speech(rate, 1.0), rate // 50)
    pair = Pair(48000)
    ours = np.concatenate([pair.decode(*row_of(data))[0][0] for data in packets])
    theirs = heard_by("opus", packets)
    count = len(theirs)
    assert count >= len(ours) - 960
    assert best_snr(ours[:count], theirs, 10) > (70 if bit_rate == 96000 else 18)


@pytest.mark.parametrize(("rate", "bit_rate"), STREAMS)
def test_another_libopus_hears_the_same(rate: int, bit_rate: int) -> None:
    """The libopus in PyAV, driven by FFmpeg."""
    packets = Pair(rate, 1, EncoderSettings(bit_rate=bit_rate)).packets(speech(rate, 1.0), rate // 50)
    pair = Pair(48000)
    ours = np.concatenate([pair.decode(*row_of(data))[0][0] for data in packets])
    theirs = heard_by("libopus", packets)
    assert snr(ours[: len(theirs)], theirs) > 90


def test_what_ffmpeg_encodes_is_understood() -> None:
    av = pytest.importorskip("av")
    encoder = av.CodecContext.create("libopus", "w")
    encoder.layout, encoder.sample_rate, encoder.format, encoder.bit_rate = "mono", 48000, "s16", 64000
    sound, pair, heard = speech(48000, 0.6), Pair(48000), []
    for index, piece in enumerate(sound.reshape(30, 1, 960)):
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, index * 960
        heard += [pair.decode(*row_of(bytes(packet)))[0][0] for packet in encoder.encode(frame)]
    assert best_snr(sound[: len(heard) * 960], np.concatenate(heard), 480) > 12


@pytest.mark.parametrize("milliseconds", [2.5, 5, 10, 20, 40, 60])
def test_durations(milliseconds: float) -> None:
    pair = Pair(16000)
    frame = int(16 * milliseconds)
    samples, counts = pair.decode(*pair.encode(speech(16000, 0.06)[None, :frame]))
    assert counts.tolist() == [frame]
    assert samples.shape == (1, frame)
    with pytest.raises(ValueError, match=r"expected 2\.5, 5, 10, 20, 40 or 60 ms at 16000 Hz, got 480 samples"):
        pair.encode(np.zeros((1, 480), np.int16))


def test_packets_of_different_length_in_one_batch() -> None:
    pair = Pair(16000, legs=3)
    sound = speech(16000, 0.06)
    table, lengths = np.zeros((3, 1275), np.uint8), np.zeros(3, np.int32)
    for row, frame in enumerate((160, 960, 320)):
        payload, size = Pair(16000).encode(sound[None, :frame])
        table[row], lengths[row] = payload[0], size[0]
    samples, counts = pair.decode(table, lengths)
    assert counts.tolist() == [160, 960, 320]
    assert samples.shape == (3, 960)
    assert not samples[0, 160:].any()


def test_constant_and_average_bit_rate() -> None:
    sound = speech(16000, 1.0)
    constant = Pair(16000, wanted=EncoderSettings(bit_rate=24000, constant=True)).packets(sound, 320)
    assert {len(data) for data in constant} == {60}
    low = Pair(16000, wanted=EncoderSettings(bit_rate=12000)).packets(sound, 320)
    assert sum(map(len, low)) < 0.8 * sum(map(len, constant))


def test_bandwidth_that_the_peer_can_play() -> None:
    """The configuration number in the first byte tells the bandwidth (RFC 6716 table 2): SILK narrow band is 0 to 3."""
    packets = Pair(48000, wanted=EncoderSettings(bit_rate=20000, bandwidth_rate=8000)).packets(speech(48000, 0.4), 960)
    assert {data[0] >> 3 for data in packets[2:]} <= {0, 1, 2, 3}


def test_silence_is_not_sent_with_dtx_alone() -> None:
    sound = np.concatenate([speech(16000, 0.4), np.zeros(16000, np.int16)])
    with_dtx = Pair(16000, wanted=EncoderSettings(bit_rate=20000, dtx=True)).packets(sound, 320)
    assert with_dtx[40:].count(b"") >= 25
    assert all(Pair(16000, wanted=EncoderSettings(bit_rate=20000)).packets(sound, 320))


def test_redundancy_brings_back_what_was_lost() -> None:
    wanted = EncoderSettings(bit_rate=32000, fec=True, expected_loss_percent=20)
    packets = Pair(16000, wanted=wanted).packets(speech(16000, 3.0, 5), 320)
    whole, recovered, concealed = Pair(16000), Pair(16000), Pair(16000)
    errors = {"recover": 0.0, "conceal": 0.0}
    for at, data in enumerate(packets):
        clean = whole.decode(*row_of(data))[0].astype(float)
        if at % 5 == 3 and at + 1 < len(packets):
            row = np.arange(1)
            back = recovered.codec.recover(recovered.decoder, row, *row_of(packets[at + 1]), 320)
            made = concealed.codec.conceal(concealed.decoder, row, 320)
            assert back.shape == made.shape == (1, 320)
            errors["recover"] += np.sum((back - clean) ** 2)
            errors["conceal"] += np.sum((made - clean) ** 2)
        else:
            recovered.decode(*row_of(data))
            concealed.decode(*row_of(data))
    assert errors["recover"] < 0.25 * errors["conceal"]


def test_recovery_without_redundancy_conceals() -> None:
    pair = Pair(16000)
    pair.decode(*pair.encode(speech(16000, 0.02)[None]))
    for data in (b"", b"\xff", b"\x08"):
        assert pair.codec.recover(pair.decoder, np.arange(1), *row_of(data), 320).shape == (1, 320)


def test_a_long_gap_fades() -> None:
    pair = Pair(16000)
    for frame in tone(16000, 0.4, (300, 9000)).astype(np.int16).reshape(20, 1, 320):
        pair.decode(*pair.encode(frame))
    loud = [float(np.abs(pair.codec.conceal(pair.decoder, pair.rows, 320)).mean()) for _ in range(30)]
    assert loud[0] > 2000
    assert loud[-1] < 0.1 * loud[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_any_bytes_decode(payloads: list[bytes]) -> None:
    pair = Pair(48000, legs=len(payloads))
    table = np.zeros((len(payloads), 100), np.uint8)
    for row, data in enumerate(payloads):
        table[row, : len(data)] = np.frombuffer(data, np.uint8)
    samples, counts = pair.decode(table, np.array([len(data) for data in payloads], np.int32))
    assert samples.shape[1] <= pair.codec.samples_max
    assert (counts <= samples.shape[1]).all()
    assert all(count == 0 for count, data in zip(counts, payloads, strict=True) if not data)


def test_settings_change_in_a_stream() -> None:
    pair = Pair(16000, wanted=EncoderSettings(bit_rate=32000, constant=True))
    sound = speech(16000, 0.4).reshape(20, 1, 320)
    assert pair.encode(sound[0])[1][0] == 80
    pair.codec.change_encoder(pair.encoder, 0, bit_rate=16000, expected_loss_percent=5)
    assert pair.encode(sound[1])[1][0] == 40
    with pytest.raises(ValueError, match="libopus refused"):
        pair.codec.change_encoder(pair.encoder, 0, expected_loss_percent=101)


@pytest.mark.process
@pytest.mark.parametrize("rate", [16000, 48000])
def test_another_process_goes_on_with_a_state(rate: int) -> None:
    """Encoder and decoder are left in a memory file in mid stream; every later byte and sample is the same as without the change."""
    pair, sound = Pair(rate), speech(rate, 1.0).reshape(50, rate // 50)
    run(pair.codec, pair.encoder, pair.decoder, sound[:20])
    file = os.memfd_create("opus")
    try:
        os.write(file, pair.encoder.tobytes() + pair.decoder.tobytes() + sound.tobytes())
        arguments = [sys.executable, "-m", "tests.media.coding.opus_successor", str(file), str(rate), "30"]
        done = subprocess.run(arguments, pass_fds=[file], capture_output=True, check=True, timeout=60, text=True)
    finally:
        os.close(file)
    place, digest = done.stdout.split()
    assert int(place) != pair.codec._opus.image[0], "the library lies elsewhere there, else nothing is proved"
    assert digest == run(pair.codec, pair.encoder, pair.decoder, sound[20:])


def test_foreign_state_is_refused() -> None:
    pair = Pair(16000)
    with pytest.raises(StateError, match="never reset"):
        pair.codec.encode(np.zeros_like(pair.encoder), np.arange(1), np.zeros((1, 320), np.int16))
    assert pair.codec.readable(pair.encoder, np.arange(1)).tolist() == [True]
    seen: list[int] = []
    idle = pair.codec._opus.encode
    pair.codec._opus.encode = lambda *arguments: (  # type: ignore[assignment, method-assign]
        seen.append(pair.codec.readable(pair.encoder, np.arange(1)).tolist()[0]) or idle(*arguments)
    )
    pair.codec.encode(pair.encoder, np.arange(1), np.zeros((1, 320), np.int16))
    pair.codec._opus.encode = idle  # type: ignore[method-assign]
    assert seen == [False], "who dies meanwhile leaves half a state"
    assert pair.codec.readable(pair.encoder, np.arange(1)).tolist() == [True]
    pair.encoder.view(np.uint64)[0, 2] ^= np.uint64(1)
    assert pair.codec.readable(pair.encoder, np.arange(1)).tolist() == [False]
    with pytest.raises(StateError, match="another build"):
        pair.codec.encode(pair.encoder, np.arange(1), np.zeros((1, 320), np.int16))
    with pytest.raises(ValueError, match="expected rows of"):
        pair.codec.encode(np.zeros((1, 64), np.uint8), np.arange(1), np.zeros((1, 320), np.int16))


def test_the_library_in_the_wheel_works_as_well() -> None:
    path = libopus.in_wheel()
    if path is None:
        pytest.skip("waits for the package av (requirements-dev.lock)")
    backend = libopus.Library(path)
    codec = Opus(16000, backend=backend)
    state, row = np.zeros((1, codec.encoder_bytes), np.uint8), np.arange(1)
    codec.reset_encoder(state, row)
    payload, lengths = codec.encode(state, row, speech(16000, 0.02)[None])
    assert Pair(16000).decode(payload, lengths)[1].tolist() == [320]
    assert backend.image != libopus.library().image or backend.version == libopus.library().version


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a rate of"):
        Opus(44100)
    with pytest.raises(ValueError, match="1 or 2 channels"):
        Opus(48000, 3)
    with pytest.raises(libopus.OpusMissingError, match=r"libc\.so\.6"):
        libopus.Library("libc.so.6")
