"""G.722: the same bits as FFmpeg's codec understands, and state that moves between arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.coding.codec import StateError
from media.coding.g722 import G722
from tests.media.sounds import snr, speech

CODEC = G722()
DELAY = 22
"""Samples that both halves of the QMF delay the sound."""


def rows(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    encoders, decoders = np.zeros((count, CODEC.encoder_bytes), np.uint8), np.zeros((count, CODEC.decoder_bytes), np.uint8)
    every = np.arange(count)
    CODEC.reset_encoder(encoders, every)
    CODEC.reset_decoder(decoders, every)
    return encoders, decoders, every


def test_there_and_back() -> None:
    encoders, decoders, every = rows(2)
    sounds = np.stack([speech(16000, 1.0, seed) for seed in (1, 2)])
    out = []
    for frame in np.split(sounds, 50, axis=1):
        payload, lengths = CODEC.encode(encoders, every, frame)
        assert payload.shape == (2, 160)
        assert lengths.tolist() == [160, 160]
        samples, counts = CODEC.decode(decoders, every, payload, lengths)
        assert counts.tolist() == [320, 320]
        out.append(samples)
    heard = np.concatenate(out, axis=1)
    assert snr(sounds[:, :-DELAY], heard[:, DELAY:]) > 18


def test_ffmpeg_decodes_to_the_same_samples() -> None:
    av = pytest.importorskip("av")
    encoders, decoders, every = rows(1)
    decoder = av.CodecContext.create("g722", "r")
    decoder.layout, decoder.sample_rate = "mono", 16000
    ours, theirs = [], []
    for frame in speech(16000, 1.0, 3).reshape(50, 1, 320):
        payload, lengths = CODEC.encode(encoders, every, frame)
        ours.append(CODEC.decode(decoders, every, payload, lengths)[0][0])
        theirs += [part.to_ndarray()[0] for part in decoder.decode(av.Packet(payload[0].tobytes()))]
    assert np.array_equal(np.concatenate(ours), np.concatenate(theirs))


def test_what_ffmpeg_encodes_is_understood() -> None:
    av = pytest.importorskip("av")
    _, decoders, every = rows(1)
    encoder = av.CodecContext.create("g722", "w")
    encoder.layout, encoder.sample_rate, encoder.format = "mono", 16000, "s16"
    sound = speech(16000, 1.0, 4)
    heard = []
    for index, piece in enumerate(sound.reshape(50, 1, 320)):
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, index * 320
        for packet in encoder.encode(frame):
            payload = np.frombuffer(bytes(packet), np.uint8)[None]
            heard.append(CODEC.decode(decoders, every, payload, np.array([payload.shape[1]], np.int32))[0][0])
    whole = np.concatenate(heard)
    assert snr(sound[: len(whole) - DELAY], whole[DELAY:]) > 18


def test_rows_are_streams_of_their_own_in_any_order() -> None:
    sounds = np.stack([speech(16000, 0.2, seed) for seed in range(4)])
    encoders, _, every = rows(4)
    whole = CODEC.encode(encoders, every, sounds)[0]
    encoders, _, every = rows(4)
    pieces = dict.fromkeys(range(4), b"")
    for order in ([2, 0], [3], [1, 2, 3, 0], [2], [0, 3], [1], [1, 2, 0, 3]):
        for row, payload in zip(order, CODEC.encode(encoders, np.array(order), _next(sounds, pieces, order))[0], strict=True):
            pieces[row] += payload.tobytes()
    for row, data in pieces.items():
        assert data == whole[row].tobytes()[: len(data)]


def _next(sounds: np.ndarray, pieces: dict[int, bytes], order: list[int]) -> np.ndarray:
    return np.stack([sounds[row, 2 * len(pieces[row]) : 2 * len(pieces[row]) + 320] for row in order])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_any_bytes_decode(payloads: list[bytes]) -> None:
    _, decoders, every = rows(len(payloads))
    table = np.zeros((len(payloads), 200), np.uint8)
    for row, data in enumerate(payloads):
        table[row, : len(data)] = np.frombuffer(data, np.uint8)
    lengths = np.array([len(data) for data in payloads], np.int32)
    samples, counts = CODEC.decode(decoders, every, table, lengths)
    assert counts.tolist() == [2 * len(data) for data in payloads]
    assert samples.shape == (len(payloads), counts.max())


def test_state_that_is_none_is_refused() -> None:
    with pytest.raises(StateError, match="never reset"):
        CODEC.encode(np.zeros((1, CODEC.encoder_bytes), np.uint8), np.arange(1), np.zeros((1, 320), np.int16))
