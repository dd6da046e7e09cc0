"""Opus (RFC 6716, RFC 7587) by libopus, on rows of arrays.

Rules:
- One `Opus` object is one sample rate and number of channels of *ours*; the bitstream tells its own, and libopus converts. The RTP
  clock is 48 kHz always: a packet of 20 ms moves the timestamp by 960 at any rate.
- A leg's encoder and decoder are libopus' own structures, in place in the caller's rows (``opus_encoder_get_size``); libopus promises
  that they can be copied as bytes. They hold pointers to tables of the library: in rows of another process each pointer into the image
  of the library there is moved to the same place in its own, when a row is first used.
- A row begins with a head: where the library lay and which build it was. Another build's rows are refused. The first head names the row
  that is worked on: who died in the middle of that leaves it torn, and libopus would end the next process for it; it is not `readable`.
- A payload that is not Opus gives 0 samples. `conceal` and `recover` fill a gap, by the codec's own concealment and by the redundancy
  (FEC) in the packet after it.

Cost is libopus' own, and 1.5-2 us for the call. One core, 20 ms of mono speech, libopus 1.3.1, encoding at complexity 0 / 5 / 10:
8 kHz, 16 kbit/s 40 / 75 / 140 us; 16 kHz, 24 kbit/s 65 / 135 / 235 us; 48 kHz, 32 kbit/s 110 / 220 / 260 us. Decoding: 13, 20, 55 us.
State of a leg, mono: 43 KiB to encode and 18 KiB to decode (libopus 1.3.1).
"""

import numpy as np

from media.arrays import I16, I32, U8, U64, Bool, Index
from media.coding import libopus
from media.coding.codec import STATE_ALIGNMENT_BYTES, StateError
from media.coding.libopus import Library, library
from media.coding.opus_parameters import EncoderSettings

RATES = (8000, 12000, 16000, 24000, 48000)
"""Sample rates of libopus, Hz."""
BIT_RATES = {8000: 32_000, 12000: 32_000, 16000: 19_000, 24000: 27_000, 48000: 51_000}
"""bit/s of one channel where nobody asks for another: libopus' own choice from 16 kHz on. At 8 kHz it would take 11 000, which costs
0.4 of MOS."""
CLOCK_RATE = 48000
PAYLOAD_BYTES_MAX = 1275
"""Longest packet that is made: one frame (RFC 6716 section 3.2.1)."""
PACKET_SECONDS_MAX = 0.120
"""Longest packet that can come (RFC 6716 section 3.1)."""
DTX_BYTES_MAX = 2
"""A packet this short need not be sent."""
HEAD_BYTES = 64
_LOW, _HIGH, _BUILD, _WORK = 0, 1, 2, 3
"""Words of the head."""


class Opus:
    """The codec at one rate.

    Args:
        sample_rate: one of `RATES`, Hz: of the samples that go in and come out.
        channels: 1 or 2, likewise.
        settings: of the encoders that `reset_encoder` makes.
        backend: a loaded libopus; None: the machine's.

    Raises:
        ValueError: another rate or number of channels.
        OpusMissingError: no libopus.
    """

    name = "opus"
    clock_rate = CLOCK_RATE

    def __init__(
        self, sample_rate: int = 48000, channels: int = 1, settings: EncoderSettings | None = None, backend: Library | None = None
    ) -> None:
        if sample_rate not in RATES or channels not in (1, 2):
            raise ValueError(f"expected a rate of {RATES} Hz and 1 or 2 channels, got {sample_rate} and {channels}")
        self.sample_rate, self.channels = sample_rate, channels
        self.settings = settings or EncoderSettings()
        self._opus = opus = backend or library()
        self.encoder_bytes = _whole(opus.encoder_get_size(channels))
        self.decoder_bytes = _whole(opus.decoder_get_size(channels))
        self.samples_max = int(sample_rate * PACKET_SECONDS_MAX) * channels
        """Most samples of a packet, all channels."""

    def reset_encoder(self, state: U8, rows: Index, settings: EncoderSettings | None = None) -> None:
        """Begin streams, with these settings or the object's.

        Raises:
            ValueError: a setting is out of its range.
        """
        wanted, opus = settings or self.settings, self._opus
        application = libopus.APPLICATION_AUDIO if wanted.music else libopus.APPLICATION_VOIP
        bandwidth = max(code for rate, code in libopus.BANDWIDTHS if rate <= max(wanted.bandwidth_rate, libopus.BANDWIDTHS[0][0]))
        self._mark(state, rows, self.encoder_bytes)
        for place in self._places(state, rows, self.encoder_bytes):
            opus.encoder_init(place, self.sample_rate, self.channels, application)
            opus.set_encoder(place, libopus.SET_BITRATE, wanted.bit_rate or BIT_RATES[self.sample_rate] * self.channels)
            opus.set_encoder(place, libopus.SET_COMPLEXITY, wanted.complexity)
            opus.set_encoder(place, libopus.SET_MAX_BANDWIDTH, bandwidth)
            opus.set_encoder(place, libopus.SET_VBR, int(not wanted.constant))
            opus.set_encoder(place, libopus.SET_INBAND_FEC, int(wanted.fec))
            opus.set_encoder(place, libopus.SET_PACKET_LOSS_PERC, wanted.expected_loss_percent)
            opus.set_encoder(place, libopus.SET_DTX, int(wanted.dtx))

    def change_encoder(self, state: U8, row: int, *, bit_rate: int | None = None, expected_loss_percent: int | None = None) -> None:
        """Follow the network while a stream runs.

        Raises:
            ValueError: out of range.
        """
        place = self._places(state, np.array([row]), self.encoder_bytes)[0]
        if bit_rate is not None:
            self._opus.set_encoder(place, libopus.SET_BITRATE, bit_rate)
        if expected_loss_percent is not None:
            self._opus.set_encoder(place, libopus.SET_PACKET_LOSS_PERC, expected_loss_percent)

    def reset_decoder(self, state: U8, rows: Index) -> None:
        self._mark(state, rows, self.decoder_bytes)
        for place in self._places(state, rows, self.decoder_bytes):
            self._opus.decoder_init(place, self.sample_rate, self.channels)

    def readable(self, state: U8, rows: Index) -> Bool:
        whole = rows + 1 != int(self._work(state)[0])
        return np.asarray((state[:, :HEAD_BYTES].view(np.uint64)[rows, _BUILD] == self._opus.build) & whole)

    @staticmethod
    def _work(state: U8) -> U64:
        """uint64[1] of the state: the row that is worked on, + 1; 0: none."""
        return state[0, :HEAD_BYTES].view(np.uint64)[_WORK : _WORK + 1]

    def encode(self, state: U8, rows: Index, samples: I16) -> tuple[U8, I32]:
        """One packet of each row.

        Args:
            samples: int16[len(rows), n]: 2.5, 5, 10, 20, 40 or 60 ms.

        Raises:
            ValueError: another duration.
        """
        count, width = samples.shape
        frame = width // self.channels
        if width % self.channels or frame * 400 % self.sample_rate or frame * 400 // self.sample_rate not in (1, 2, 4, 8, 16, 24):
            raise ValueError(f"expected 2.5, 5, 10, 20, 40 or 60 ms at {self.sample_rate} Hz, got {frame} samples")
        sound = np.ascontiguousarray(samples)
        payload = np.zeros((count, PAYLOAD_BYTES_MAX), np.uint8)
        places = self._places(state, rows, self.encoder_bytes)
        source, target = sound.ctypes.data, payload.ctypes.data
        encode, step, work, sizes = self._opus.encode, 2 * width, self._work(state), []
        for row, (number, place) in enumerate(zip(rows.tolist(), places, strict=True)):
            work[0] = number + 1
            sizes.append(encode(place, source + row * step, frame, target + row * PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX))
        work[0] = 0
        lengths = np.array(sizes, np.int32)
        for row in np.flatnonzero(lengths <= DTX_BYTES_MAX).tolist():
            if lengths[row] < 0 or self._opus.get_encoder(places[row], libopus.GET_DTX):
                lengths[row] = 0
        return payload, lengths

    def decode(self, state: U8, rows: Index, payload: U8, lengths: I32) -> tuple[I16, I32]:
        """One packet of each row; see `media.coding.codec.Codec.decode`. A row is as wide as the longest of these packets."""
        data = np.ascontiguousarray(payload)
        sizes = np.clip(lengths, 0, data.shape[1]).tolist()
        places = self._places(state, rows, self.decoder_bytes)
        source, step = data.ctypes.data, data.shape[1]
        measure, rate = self._opus.packet_samples, self.sample_rate
        frames = [measure(source + row * step, size, rate) if size else 0 for row, size in enumerate(sizes)]
        width = min(max([*frames, 0]) * self.channels, self.samples_max)
        samples = np.zeros((len(data), width), np.int16)
        target = samples.ctypes.data
        decode, room, work = self._opus.decode, width // self.channels, self._work(state)
        got = [0] * len(sizes)
        for row, (number, place, size, frame) in enumerate(zip(rows.tolist(), places, sizes, frames, strict=True)):
            if frame > 0:
                work[0] = number + 1
                got[row] = decode(place, source + row * step, size, target + row * 2 * width, room, 0)
        work[0] = 0
        return samples, np.maximum(np.array(got, np.int32), 0) * np.int32(self.channels)

    def conceal(self, state: U8, rows: Index, width: int) -> I16:
        """Sound for a packet that did not come.

        Args:
            width: samples of it, all channels; a multiple of 2.5 ms.

        Returns:
            int16[len(rows), width].
        """
        return self._fill(state, rows, width, None, [0] * len(rows))

    def recover(self, state: U8, rows: Index, payload: U8, lengths: I32, width: int) -> I16:
        """Sound for a lost packet out of the redundancy in the one after it, which is decoded afterwards as if nothing had been.

        Args:
            payload: of the packet *after* the gap; without redundancy in it (or with none at all) the gap is concealed.
            width: samples of the lost packet, all channels; a multiple of 2.5 ms.
        """
        data = np.ascontiguousarray(payload)
        return self._fill(state, rows, width, data, np.clip(lengths, 0, data.shape[1]).tolist())

    def _fill(self, state: U8, rows: Index, width: int, data: U8 | None, sizes: list[int]) -> I16:
        samples = np.zeros((len(rows), width), np.int16)
        source, step = (0, 0) if data is None else (data.ctypes.data, data.shape[1])
        target, decode, frame, work = samples.ctypes.data, self._opus.decode, width // self.channels, self._work(state)
        places = self._places(state, rows, self.decoder_bytes)
        for row, (number, place, size) in enumerate(zip(rows.tolist(), places, sizes, strict=True)):
            work[0] = number + 1
            at = target + row * 2 * width
            if not size or decode(place, source + row * step, size, at, frame, 1) < 0:
                decode(place, None, 0, at, frame, 0)
        work[0] = 0
        return samples

    def _places(self, state: U8, rows: Index, size: int) -> list[int]:
        """Where the structures are, checked to be ones of this process."""
        if state.shape[1] != size or state.strides[1] != 1 or state.ctypes.data % 8 or state.strides[0] % 8:
            raise ValueError(f"expected rows of {size} bytes in aligned memory, got {state.shape[1]}")
        heads = state[:, :HEAD_BYTES].view(np.uint64)[rows]
        ours = (heads[:, _LOW] == self._opus.image[0]) & (heads[:, _BUILD] == self._opus.build)
        if not ours.all():
            self._adopt(state, rows[~ours])
        places: list[int] = (rows * state.strides[0] + (state.ctypes.data + HEAD_BYTES)).tolist()
        return places

    def _mark(self, state: U8, rows: Index, size: int) -> None:
        if state.shape[1] != size:
            raise ValueError(f"expected rows of {size} bytes, got {state.shape[1]}")
        state[rows] = 0
        heads: U64 = state[:, :HEAD_BYTES].view(np.uint64)
        heads[rows, _LOW], heads[rows, _HIGH] = self._opus.image
        heads[rows, _BUILD] = self._opus.build

    def _adopt(self, state: U8, rows: Index) -> None:
        """Go on with rows of another process: their pointers into the library follow it to where it lies here."""
        words: U64 = state.view(np.uint64)
        (low, high), work = self._opus.image, self._work(state)
        for row in rows.tolist():
            head = words[row]
            if head[_BUILD] != self._opus.build:
                raise StateError("rows of Opus state that were never reset, or that another build of libopus wrote")
            was_low, was_high = head[_LOW], head[_HIGH]
            body = words[row, HEAD_BYTES // 8 :]
            work[0] = row + 1
            pointers = (body >= was_low) & (body < was_high)
            body[pointers] += np.uint64((int(low) - int(was_low)) & 0xFFFFFFFFFFFFFFFF)
            head[_LOW], head[_HIGH] = low, high
            work[0] = 0


def _whole(size: int) -> int:
    return HEAD_BYTES + -(-size // STATE_ALIGNMENT_BYTES) * STATE_ALIGNMENT_BYTES
