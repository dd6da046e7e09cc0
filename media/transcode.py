"""From the frames that are due to samples at 8 kHz, and from samples to packets: for legs of any codec at once.

Rules:
- G.711 is a table lookup for a whole block; legs of other codecs are taken out of the block, served, and put back.
- A gap is filled as G.711 appendix I does; Opus fills its own, by the redundancy in the packet after it where there is some. What is
  there of a frame stays where it belongs: packets of 10 to 60 ms may follow each other, and any of them be lost. After comfort
  noise of the peer a gap is silence that was meant, and sounds as the peer says (RFC 3389); not in larger rooms, which cost their talkers.
- Frames that say nothing are not decoded where most are such. What many hear alike is encoded once for each codec and its settings: one
  leg's encoder serves all of them. A leg that hears something of its own again goes on from the state of the encoder that it followed.
- A packet of Opus or L16 longer than a frame is decoded once; what is over waits in `Legs.pcm`.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy import count_nonzero as how_many
from numpy.typing import NDArray

from media import coders, g711, levels
from media.arrays import I16, I32, I64, U8, Bool, Index
from media.codecs import G722, L16, L16_WIDE, OPUS, PCMA
from media.coding.codec import Codec
from media.concealment import Concealment
from media.jitter import PAUSE_FRAMES, Frames, JitterRing, PacketRing, Playout
from media.legs import FRAME_SAMPLES, HALF_SAMPLES, NOISE, PCM_SAMPLES, Legs
from media.mixer import Mixer
from media.send import Sender

CONCEALED_MAX = 64
"""Gaps filled in one block; where more are lost at once, filling them would cost the tick, and they are silent."""
CONCEALED_FRAMES = 4
"""A longer gap is silent (G.711 appendix I: after 60 ms)."""
_HISTORY_FRAMES = 3


class Heard(NamedTuple):
    """The frames that were due of some legs."""

    row: Index | None
    """intp[k]: which of the legs say something, ascending; None: all are there."""
    samples: I16
    """int16[k, 160]; lent until the next call."""
    level: U8
    """uint8[n]: `media.levels`, of all legs."""


class Transcoder:
    """Decoders and encoders of all legs."""

    def __init__(self, legs: Legs, playout: Playout, ring: JitterRing, packets: PacketRing, mixer: Mixer, sender: Sender) -> None:
        self._legs, self._playout, self._ring, self._packets = legs, playout, ring, packets
        self._mixer, self._sender = mixer, sender
        self._mark: Bool = np.zeros(legs.capacity, np.bool_)
        self._rng = np.random.default_rng()
        opus = coders.OPUS
        self._opus_in = legs.decoder[:, : opus.decoder_bytes] if opus else legs.decoder
        self._opus_out = legs.encoder[:, : opus.encoder_bytes] if opus else legs.encoder
        wide = coders.G_722
        self._g722_in = legs.decoder[:, : wide.decoder_bytes] if wide else legs.decoder
        self._g722_out = legs.encoder[:, : wide.encoder_bytes] if wide else legs.encoder

    def begin(self, leg: int, codec: int, parameters: str) -> None:
        """A leg sends and receives another codec from now on: make its state ready."""
        row = np.array([leg])
        if codec == OPUS and coders.OPUS:
            settings = coders.settings(parameters)
            coders.OPUS.reset_encoder(self._opus_out, row, settings)
            self._legs.encoding[leg] = zlib.crc32(repr(settings).encode())
        elif codec == G722 and coders.G_722:
            coders.G_722.reset_encoder(self._g722_out, row)
            self._legs.widen[leg] = np.zeros(1, coders.ROOM_TO_WIDE.state)[0]
        elif codec == L16_WIDE:
            self._legs.widen[leg] = np.zeros(1, coders.ROOM_TO_WIDE.state)[0]
        self._legs.follows[leg] = -1
        self.listen(row, np.array([codec], np.uint8))

    def take_over(self) -> None:
        """Go on with the codecs' states that another process left; what this build can't read begins anew."""
        legs = self._legs
        known: list[tuple[int, Codec | None, U8, U8]] = [
            (OPUS, coders.OPUS, self._opus_out, self._opus_in),
            (G722, coders.G_722, self._g722_out, self._g722_in),
        ]
        for number, codec, encoders, decoders in known:
            if codec is None:
                continue
            says = np.flatnonzero(legs.used & (legs.codec == number))
            hears = np.flatnonzero(legs.used & ((legs.codec_in == number) | ((legs.codec_in == 0) & (legs.codec == number))))
            codec.reset_encoder(encoders, says[~codec.readable(encoders, says)])
            codec.reset_decoder(decoders, hears[~codec.readable(decoders, hears)])

    def listen(self, leg: Index, codec: U8) -> None:
        """Legs receive another codec from now on, uint8[n]."""
        legs = self._legs
        opus, wide = leg[codec == OPUS], leg[codec == G722]
        if len(opus) and coders.OPUS:
            coders.OPUS.reset_decoder(self._opus_in, opus)
            self._packets.restart(opus)
            legs.pcm_count[opus] = 0
        if len(wide) and coders.G_722:
            coders.G_722.reset_decoder(self._g722_in, wide)
            legs.concealment_wide[wide] = np.zeros(1, coders.CONCEALMENT_WIDE.state)[0]
            legs.narrow[wide] = np.zeros(1, coders.WIDE_TO_ROOM.state)[0]
        linear = leg[codec >= L16]
        if len(linear):
            self._packets.restart(linear)
            legs.pcm_count[linear] = 0
            legs.narrow[linear] = np.zeros(1, coders.WIDE_TO_ROOM.state)[0]
        legs.concealment["lost"][leg] = 0

    def hear(self, leg: Index, quiet: int = -1) -> Heard:
        """The frames that are due; ``leg`` intp[n], all different. Levels up to ``quiet`` say nothing."""
        legs = self._legs
        codec = legs.codec_in.take(leg)
        if how_many(codec > PCMA):
            return self._hear_each(leg, codec, quiet)
        frames = self._ring.take(leg)
        row = self._talking(frames.level, quiet, legs.healing.take(leg), legs.quiet.take(leg) if quiet == 0 else None)
        if row is None:
            samples = self._mixer.decode(self._ring.read(frames.slot), codec)
            self._fill(leg, samples, frames)
            return Heard(None, samples, frames.level)
        samples = self._mixer.decode(self._ring.read(frames.slot[row]), codec[row])
        if len(row):
            self._fill(leg[row], samples, Frames(frames.slot[row], frames.level[row], frames.whole[row], frames.halves[row]))
        return Heard(row, samples, frames.level)

    @staticmethod
    def _talking(level: U8, quiet: int, healing: Bool | None = None, noise: Bool | None = None) -> Index | None:
        """Which frames say something; None: at least half of them, so that to leave the others out would not pay."""
        talks = level > quiet
        if healing is not None:
            talks |= healing
        if noise is not None:
            talks |= noise
        return None if 2 * how_many(talks) >= len(talks) else np.flatnonzero(talks)

    def _hear_each(self, leg: Index, codec: U8, quiet: int) -> Heard:
        out = np.zeros((len(leg), FRAME_SAMPLES), np.int16)
        level = np.zeros(len(leg), np.uint8)
        plain = np.flatnonzero(codec <= PCMA)
        if len(plain):
            heard = self.hear(leg[plain], quiet)
            out[plain if heard.row is None else plain[heard.row]] = heard.samples
            level[plain] = heard.level
        wide = np.flatnonzero(codec == G722)
        if len(wide):
            out[wide] = self._hear_g722(leg[wide])
        opus = np.flatnonzero(codec == OPUS)
        if len(opus):
            out[opus] = self._hear_opus(leg[opus])
        for number in (L16, L16_WIDE):
            linear = np.flatnonzero(codec == number)
            if len(linear):
                out[linear] = self._hear_linear(number, leg[linear])
        coded = np.flatnonzero(codec > PCMA)
        level[coded] = levels.of_samples(out[coded])
        row = self._talking(level, quiet)
        return Heard(row, out if row is None else out[row], level)

    def _hear_g722(self, leg: Index) -> I16:
        legs, codec = self._legs, coders.G_722
        frames = self._ring.take(leg)
        samples = np.zeros((len(leg), 4 * HALF_SAMPLES), np.int16)
        there = np.flatnonzero(frames.whole)
        if len(there) and codec is not None:
            sizes = np.full(len(there), FRAME_SAMPLES, np.int32)
            samples[there], _ = codec.decode(self._g722_in, leg[there], self._ring.read(frames.slot[there]), sizes)
        if len(there) < len(leg) and codec is not None:
            for half in (0, 1):
                row = np.flatnonzero(frames.halves[:, half] & ~frames.whole)
                if not len(row):
                    continue
                code = self._ring.read(frames.slot[row])[:, half * HALF_SAMPLES : (half + 1) * HALF_SAMPLES]
                sound, _ = codec.decode(self._g722_in, leg[row], code, np.full(len(row), HALF_SAMPLES, np.int32))
                samples[row, 2 * half * HALF_SAMPLES : 2 * (half + 1) * HALF_SAMPLES] = sound
        self._heal(leg, legs.concealment_wide, coders.CONCEALMENT_WIDE, samples, ~frames.halves)
        state = legs.narrow[leg]
        out: I16 = coders.WIDE_TO_ROOM(state, samples)
        legs.narrow[leg] = state
        self._hush(leg, out, np.flatnonzero(~frames.halves.any(axis=1) & legs.quiet[leg]))
        return out

    def _heal(self, leg: Index, states: NDArray[Any], how: Concealment, samples: I16, lost: Bool) -> None:
        """Make up each 10 ms of a frame that is not there, bool[n, 2], where a gap is not meant or too long."""
        legs = self._legs
        missing, half = legs.missing[leg], samples.shape[1] // 2
        filled = ~lost.all(axis=1) | ((missing > 0) & (missing <= CONCEALED_FRAMES))
        lost = lost & (filled & legs.playing[leg] & ~legs.quiet[leg])[:, None]
        lost[np.flatnonzero(lost.any(axis=1))[CONCEALED_MAX:]] = False
        state = states[leg]
        for number in (0, 1):
            how(state, samples[:, number * half : (number + 1) * half], lost[:, number])
        states[leg] = state

    def _hear_opus(self, leg: Index) -> I16:
        legs = self._legs
        play, live = self._playout.due(leg)
        count = self._waiting(leg, play)
        missing = legs.missing[leg]
        fill = ~legs.quiet[leg] & (missing < PAUSE_FRAMES) & (missing >= 0)
        present: Bool = (count > 0) & live
        for half, end in enumerate((HALF_SAMPLES, FRAME_SAMPLES)):
            slot, there = self._packets.find(leg, 2 * play + half)
            short = live & (count < end)
            row = np.flatnonzero(short & there)
            if len(row):
                count[row] = self._decode(leg[row], slot[row], count[row])
                present[row] = True
            gap = np.flatnonzero(short & ~there & fill)
            if len(gap):
                self._fill_opus(leg, play, count, gap, half)
            self._silence(leg, count, np.flatnonzero(live & (count < end)), end)
        held = np.flatnonzero(~live & legs.playing.take(leg) & fill)
        if len(held):
            # The buffer grows: what waits moves on by a frame that is made up behind it.
            self._conceal_opus(leg, None, count, held, FRAME_SAMPLES)
        self._silence(leg, count, np.flatnonzero(count < FRAME_SAMPLES), FRAME_SAMPLES)
        out = self._shift(leg, count)
        legs.pcm_at[leg] = 2 * (play + live)
        self._playout.settle(leg, present)
        return out

    def _waiting(self, leg: Index, play: I64) -> I64:
        """int64[n]: decoded samples that wait, from the beginning of the frame that is due on; what is older is thrown away."""
        legs = self._legs
        count = legs.pcm_count[leg].astype(np.int64)
        behind = (2 * play - legs.pcm_at[leg]) * HALF_SAMPLES
        for row in np.flatnonzero((behind != 0) & (count > 0)).tolist():
            rest = count[row] - behind[row] if 0 < behind[row] < count[row] else 0
            legs.pcm[leg[row], :rest] = legs.pcm[leg[row], count[row] - rest : count[row]].copy()
            count[row] = rest
        return count

    def _silence(self, leg: Index, count: I64, short: Index, end: int) -> None:
        """What waits of some legs, rows ``short``, is so many samples long from now on: silence where there is nothing else."""
        if len(short):
            sound = self._legs.pcm[leg[short], :end]
            sound[np.arange(end) >= count[short, None]] = 0
            self._legs.pcm[leg[short], :end] = sound
            count[short] = end

    def _shift(self, leg: Index, count: I64) -> I16:
        """int16[n, 160]: the frame at the front of what waits; the rest goes on waiting."""
        legs = self._legs
        out: I16 = legs.pcm[leg, :FRAME_SAMPLES]
        rest = count - FRAME_SAMPLES
        longest = int(rest.max(initial=0))
        if longest:
            legs.pcm[leg, :longest] = legs.pcm[leg, FRAME_SAMPLES : FRAME_SAMPLES + longest]
        legs.pcm_count[leg] = rest
        return out

    def _decode(self, leg: Index, slot: Index, count: I64) -> I64:
        """Packets of some legs to the end of what waits; the new counts."""
        codec = coders.OPUS
        if codec is None:
            return count
        size = self._packets.size[slot].astype(np.int32)
        payload = self._packets.data[slot, : int(size.max(initial=1))]
        samples, got = codec.decode(self._opus_in, leg, payload, size)
        return self._append(leg, count, samples, got)

    def _append(self, leg: Index, count: I64, samples: I16, got: I32) -> I64:
        pcm = self._legs.pcm
        for row, (place, begin, many) in enumerate(zip(leg.tolist(), count.tolist(), got.tolist(), strict=True)):
            fits = min(many, PCM_SAMPLES - begin)
            pcm[place, begin : begin + fits] = samples[row, :fits]
            count[row] = begin + fits
        return count

    def _fill_opus(self, leg: Index, play: I64, count: I64, gap: Index, half: int) -> None:
        """Make up 10 ms that are not there, before what is, or a whole frame at once, for so is its redundancy."""
        _, after = self._packets.find(leg[gap], 2 * play[gap] + 1)
        alone = after | (half > 0)
        for part, width in ((gap[alone], HALF_SAMPLES), (gap[~alone], FRAME_SAMPLES)):
            if len(part):
                self._conceal_opus(leg, 2 * play + half + width // HALF_SAMPLES, count, part, width)

    def _conceal_opus(self, leg: Index, half: I64 | None, count: I64, row: Index, width: int) -> None:
        """So many samples more for some rows, from the packet after them (number of its 10 ms) if it is there and has redundancy."""
        codec = coders.OPUS
        if codec is None:
            return
        some = leg[row]
        if half is None:
            samples = codec.conceal(self._opus_in, some, width)
        else:
            slot, there = self._packets.find(some, half[row])
            size = np.where(there, self._packets.size[slot], 0).astype(np.int32)
            payload = self._packets.data[slot, : int(size.max(initial=1))]
            samples = codec.recover(self._opus_in, some, payload, size, width)
        count[row] = self._append(some, count[row], samples, np.full(len(row), width, np.int32))

    def _hear_linear(self, number: int, leg: Index) -> I16:
        legs = self._legs
        play, live = self._playout.due(leg)
        count = self._waiting(leg, play)
        lost = np.zeros((len(leg), 2), np.bool_)
        for half, end in enumerate((HALF_SAMPLES, FRAME_SAMPLES)):
            slot, there = self._packets.find(leg, 2 * play + half)
            row = np.flatnonzero(there & live & (count < end))
            if len(row):
                count[row] = self._read_linear(number, leg[row], slot[row], count[row])
            lost[:, half] = (count < end) | ~live
            self._silence(leg, count, np.flatnonzero(live & (count < end)), end)
        now = np.flatnonzero(live)
        out = np.zeros((len(leg), FRAME_SAMPLES), np.int16)
        out[now] = self._shift(leg[now], count[now])
        legs.pcm_count[leg[~live]] = count[~live]
        legs.pcm_at[leg] = 2 * (play + live)
        present: Bool = np.asarray(~lost.all(axis=1))
        self._playout.settle(leg, present)
        self._hush(leg, out, np.flatnonzero(~present & legs.quiet[leg]))
        self._heal(leg, legs.concealment, coders.CONCEALMENT, out, lost)
        return out

    def _read_linear(self, number: int, leg: Index, slot: Index, count: I64) -> I64:
        """Packets of L16 to the end of what waits; the new counts."""
        legs, codec = self._legs, coders.WIDE if number == L16_WIDE else coders.NARROW
        sizes = self._packets.size[slot]
        for size in np.unique(sizes).tolist():
            row = np.flatnonzero(sizes == size)
            mine = leg[row]
            samples, _ = codec.decode(legs.decoder, mine, self._packets.data[slot[row], :size], np.full(len(row), size, np.int32))
            if number == L16_WIDE:
                state = legs.narrow[mine]
                samples = coders.WIDE_TO_ROOM(state, samples)
                legs.narrow[mine] = state
            count[row] = self._append(mine, count[row], samples, np.full(len(row), samples.shape[1], np.int32))
        return count

    def _hush(self, leg: Index, samples: I16, row: Index) -> None:
        """Comfort noise of peers that said how their silence sounds, of at most `CONCEALED_MAX` of them."""
        row = row[:CONCEALED_MAX]
        if len(row):
            state = self._legs.noise[leg[row]]
            samples[row] = NOISE(state, self._rng)
            self._legs.noise[leg[row]] = state

    def _fill(self, leg: Index, samples: I16, frames: Frames) -> None:
        """Make up what is not there of G.711, and fade in what comes after."""
        legs = self._legs
        healing = legs.healing.take(leg)
        if how_many(frames.whole) == len(leg) and not how_many(healing):
            return
        missing = legs.missing.take(leg)
        gone = ~frames.whole & legs.playing[leg] & (missing > 0) & (missing <= CONCEALED_FRAMES) & ~legs.quiet[leg]
        silent = ~frames.whole & ~gone
        if how_many(silent):
            samples[silent] = 0
            self._hush(leg, samples, np.flatnonzero(silent & legs.quiet[leg]))
            legs.healing[leg[silent]] = False
            healing = healing & ~silent
        row = np.flatnonzero(gone | healing)
        if not len(row):
            return
        if len(row) > CONCEALED_MAX:
            over = row[CONCEALED_MAX:]
            samples[over[gone[over]]] = 0
            legs.healing[leg[over]] = False
            row = row[:CONCEALED_MAX]
        some = leg[row]
        state = legs.concealment[some]
        fresh = np.flatnonzero(~healing[row])
        if len(fresh):
            before = self._ring.before(some[fresh], _HISTORY_FRAMES).reshape(len(fresh), -1)
            law = (legs.codec_in[some[fresh]] == PCMA).astype(np.intp)
            sound = g711.DECODE[law[:, None], before]
            state["history"][fresh] = sound[:, sound.shape[1] - state["history"].shape[1] :]
            state["lost"][fresh] = 0
        part, lost = samples[row], gone[row]
        good = part.reshape(len(row), 2, -1).copy()
        coders.CONCEALMENT(state, part, lost)
        halves = frames.halves[row] & lost[:, None]
        part.reshape(len(row), 2, -1)[halves] = good[halves]
        samples[row] = part
        legs.concealment[some] = state
        legs.healing[some] = lost
        kept = np.flatnonzero(lost)
        for law in (g711.MU, g711.A):
            mine = kept[(legs.codec_in[some[kept]] == PCMA) == (law == g711.A)]
            if len(mine):
                self._ring.keep(some[mine], g711.encode(part[mine], law))

    def say(self, leg: Index, heard: I32, row: Index | None = None) -> None:
        """Send a frame to each of some legs: int32[n, 160] (written over); with ``row``, intp[n], each is sent ``heard[row]``."""
        codec = self._legs.codec.take(leg)
        if not how_many(codec > PCMA):
            self._say_plain(leg, codec, heard, row)
            return
        for number in (G722, OPUS, L16, L16_WIDE):
            mine = np.flatnonzero(codec == number)
            if len(mine):
                self._say_coded(number, leg[mine], heard, mine if row is None else row[mine])
        plain = np.flatnonzero(codec <= PCMA)
        if len(plain):
            part = heard if row is not None else heard[plain]
            self._say_plain(leg[plain], codec[plain], part, None if row is None else row[plain])

    def _say_plain(self, leg: Index, codec: U8, heard: I32, row: Index | None) -> None:
        """G.711."""
        law = (codec == PCMA).astype(np.intp)
        both = 0 < how_many(law) < len(law)
        if row is None or not both:
            self._sender.audio(leg, self._mixer.encode(heard, codec), FRAME_SAMPLES, row)
            return
        self._sender.audio(leg, self._mixer.encode_twice(heard), FRAME_SAMPLES, row + law * len(heard))

    def _say_coded(self, codec: int, leg: Index, heard: I32, row: Index) -> None:
        """Codecs with a memory: what is heard alike, by equal settings, is encoded by the first leg of those that hear it."""
        opus, wide = coders.OPUS, coders.G_722
        alike = row.astype(np.int64) << 32 | self._legs.encoding.take(leg)
        _, first, of = np.unique(alike, return_index=True, return_inverse=True)
        lead = leg[first]
        self._follow(codec, leg, lead, lead[of])
        sound = np.clip(heard[row[first]], -32768, 32767).astype(np.int16)
        if codec == OPUS and opus:
            payload, size = opus.encode(self._opus_out, lead, sound)
        elif codec == G722 and wide:
            state = self._legs.widen[lead]
            payload, size = wide.encode(self._g722_out, lead, coders.ROOM_TO_WIDE(state, sound))
            self._legs.widen[lead] = state
        elif codec == L16:
            payload, size = coders.NARROW.encode(self._legs.encoder, lead, sound)
        elif codec == L16_WIDE:
            state = self._legs.widen[lead]
            payload, size = coders.WIDE.encode(self._legs.encoder, lead, coders.ROOM_TO_WIDE(state, sound))
            self._legs.widen[lead] = state
        else:
            return
        many = size[of].astype(np.int64)
        sent = many > 0
        self._sender.audio(leg[sent], payload, many[sent], np.asarray(of[sent], np.intp))

    def _follow(self, codec: int, leg: Index, lead: Index, leader: Index) -> None:
        """Legs hear what ``leader``, intp[n], encodes; those that lead again go on from the encoder that they followed."""
        legs = self._legs
        before = legs.follows.take(lead)
        back = np.flatnonzero(before >= 0)
        if len(back):
            to, source = lead[back], before[back]
            valid = legs.used[source] & (legs.codec[source] == codec) & (legs.encoding[source] == legs.encoding[to])
            to, source = to[valid], source[valid]
            legs.encoder[to] = legs.encoder[source]
            if codec in (G722, L16_WIDE):
                legs.widen[to] = legs.widen[source]
        legs.follows[leg] = np.where(leader == leg, -1, leader)
