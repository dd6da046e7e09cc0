"""Codecs with a memory: from the packets that are due to samples at the room's rate, and back.

Rules:
- Each codec is heard at its own rate and then converted (`media.rates`); Opus at the room's.
- A packet of Opus or L16 longer than a frame is decoded once; what is over waits in `Legs.pcm`. Opus fills its gaps by the redundancy in
  the packet after it where there is some; each 10 ms of others that are not there are filled as gaps of G.711.
- What is there of a frame stays where it belongs: packets of 10 to 60 ms may follow each other, and any of them be lost.
- What many hear alike is encoded once for each codec and its settings: one leg's encoder serves all of them. A leg that hears something of
  its own again goes on from the state of the encoder that it followed. Of G.711 the filter down to 8 kHz is such a memory.
- A decoder that begins at another rate is shown the packets before, as far as the ring holds them: it goes on as if it had always been.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media import coders, g711
from media.arrays import I16, I32, I64, U8, Bool, Index
from media.codecs import G722, L16, L16_WIDE, OPUS, PCMA
from media.coding.codec import Codec
from media.coding.opus import Opus
from media.concealment import Concealment
from media.jitter import PAUSE_FRAMES, JitterRing, PacketRing, Playout
from media.legs import FRAME_SAMPLES, HALF_SAMPLES, NOISE, PCM_SAMPLES, Legs
from media.rates import RATES, Converter, frame_samples
from media.send import Sender

CONCEALED_MAX = 64
"""Gaps filled in one block; where more are lost at once, filling them would cost the tick, and they are silent."""
CONCEALED_FRAMES = 4
"""A longer gap is silent (G.711 appendix I: after 60 ms)."""
PRIMING_FRAMES = 8
"""What a decoder is shown before it goes on at another rate."""
G711 = 0
"""Both laws, as the codec of `Coded.say`."""


class Coded:
    """Decoders and encoders of all legs that need more than a table."""

    def __init__(self, legs: Legs, playout: Playout, ring: JitterRing, packets: PacketRing, sender: Sender) -> None:
        self._legs, self._playout, self._ring, self._packets, self._sender = legs, playout, ring, packets, sender
        self._rng = np.random.default_rng()
        opus, wide = coders.OPUS, coders.G_722
        self._opus_in = legs.decoder[:, : opus.decoder_bytes] if opus else legs.decoder
        self._opus_out = legs.encoder[:, : opus.encoder_bytes] if opus else legs.encoder
        self._g722_in = legs.decoder[:, : wide.decoder_bytes] if wide else legs.decoder
        self._g722_out = legs.encoder[:, : wide.encoder_bytes] if wide else legs.encoder
        self.into, self._out = Converter(legs.history_in), Converter(legs.history_out)

    # Begin, change, take over

    def begin(self, leg: int, codec: int, parameters: str) -> None:
        """A leg sends another codec from now on, or at another rate: make its state ready."""
        legs, row = self._legs, np.array([leg])
        opus = coders.OPUS_AT.get(int(legs.room_rate[leg]))
        if codec == OPUS and opus:
            settings = coders.settings(parameters)
            opus.reset_encoder(self._opus_out, row, settings)
            legs.encoding[leg] = zlib.crc32(repr(settings).encode())
        elif codec == G722 and coders.G_722:
            coders.G_722.reset_encoder(self._g722_out, row)
        legs.history_out[leg] = 0
        legs.follows[leg] = -1

    def listen(self, leg: Index, codec: U8) -> None:
        """Legs receive another codec from now on, uint8[n]."""
        legs = self._legs
        legs.history_in[leg[codec > PCMA]] = 0
        wide = leg[codec == G722]
        if len(wide) and coders.G_722:
            coders.G_722.reset_decoder(self._g722_in, wide)
        packets = leg[codec >= OPUS]
        self._packets.restart(packets)
        legs.pcm_count[packets] = 0
        for each in leg[codec == OPUS].tolist():
            coders.OPUS_AT[int(legs.room_rate[each])].reset_decoder(self._opus_in, np.array([each]))
        legs.concealment["lost"][leg] = 0
        legs.concealment_wide[leg[(codec == L16_WIDE) | (codec == G722)]] = np.zeros(1, coders.CONCEALMENT_WIDE.state)[0]

    def retune(self, leg: int, rate: int, parameters: str) -> None:
        """A leg is heard and served at another rate from now on, Hz; ``parameters``: of its codec."""
        legs, before = self._legs, int(self._legs.room_rate[leg])
        codec_in = int(legs.codec_in[leg]) or int(legs.codec[leg])
        legs.room_rate[leg] = rate
        for history in (legs.history_in, legs.history_out, legs.history_ear):
            history[leg] = 0
        legs.tail[leg] = 0
        if codec_in == OPUS:
            self._reopen(leg, before, rate)
        if legs.codec[leg] == OPUS:
            self.begin(leg, OPUS, parameters)
        legs.follows[leg] = -1

    def _reopen(self, leg: int, before: int, rate: int) -> None:
        """Decode at another rate from now on, as if it had always been so."""
        legs, row, opus = self._legs, np.array([leg]), coders.OPUS_AT[rate]
        waits = int(legs.pcm_count[leg]) * rate // before
        legs.pcm_count[leg] = 0
        opus.reset_decoder(self._opus_in, row)
        if not legs.playing[leg]:
            return
        play = int(legs.play[leg])
        for half in range(2 * (play - PRIMING_FRAMES), 2 * play):
            slot, there = self._packets.find(row, np.array([half]))
            if there[0]:
                size = self._packets.size[slot].astype(np.int32)
                samples, got = opus.decode(self._opus_in, row, self._packets.data[slot, : int(size[0])], size)
                some = min(waits, int(got[0]))
                legs.pcm[leg, :some] = samples[0, int(got[0]) - some : int(got[0])]
                legs.pcm_count[leg] = some

    def take_over(self) -> None:
        """Go on with the codecs' states that another process left; what this build can't read begins anew."""
        legs = self._legs
        codec_in = np.where(legs.codec_in == 0, legs.codec, legs.codec_in)
        for rate in RATES:
            at = legs.used & (legs.room_rate == rate)
            opus = coders.OPUS_AT.get(rate)
            if opus:
                self._adopt(opus, at & (legs.codec == OPUS), at & (codec_in == OPUS), self._opus_out, self._opus_in)
        if coders.G_722:
            self._adopt(coders.G_722, legs.used & (legs.codec == G722), legs.used & (codec_in == G722), self._g722_out, self._g722_in)

    @staticmethod
    def _adopt(codec: Codec, sends: Bool, hears: Bool, encoders: U8, decoders: U8) -> None:
        says, listens = np.flatnonzero(sends), np.flatnonzero(hears)
        codec.reset_encoder(encoders, says[~codec.readable(encoders, says)])
        codec.reset_decoder(decoders, listens[~codec.readable(decoders, listens)])

    # In

    def hear(self, number: int, leg: Index, rate: int) -> I16:
        """The frames that are due of legs of a codec, intp[n]: int16[n, 20 ms at ``rate``]."""
        if number == OPUS:
            return self._hear_opus(leg, rate)
        samples = self._hear_g722(leg) if number == G722 else self._hear_linear(number, leg)
        return self.into(leg, samples, FRAMES_AT[number], rate)

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
        self.hush(leg, samples, np.flatnonzero(~frames.halves.any(axis=1) & legs.quiet[leg]))
        return samples

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

    def _hear_opus(self, leg: Index, rate: int) -> I16:
        legs, codec, middle = self._legs, coders.OPUS_AT[rate], frame_samples(rate) // 2
        play, live = self._playout.due(leg)
        count = self._waiting(leg, play, middle)
        missing = legs.missing[leg]
        fill = ~legs.quiet[leg] & (missing < PAUSE_FRAMES) & (missing >= 0)
        present: Bool = (count > 0) & live
        for half, end in enumerate((middle, 2 * middle)):
            slot, there = self._packets.find(leg, 2 * play + half)
            short = live & (count < end)
            row = np.flatnonzero(short & there)
            if len(row):
                count[row] = self._decode(codec, leg[row], slot[row], count[row])
                present[row] = True
            gap = np.flatnonzero(short & ~there & fill)
            if len(gap):
                self._fill(codec, leg, play, count, gap, half)
            self._silence(leg, count, np.flatnonzero(live & (count < end)), end)
        held = np.flatnonzero(~live & legs.playing.take(leg) & fill)
        if len(held):
            # The buffer grows: what waits moves on by a frame that is made up behind it.
            self._conceal(codec, leg, None, count, held, 2)
        self._silence(leg, count, np.flatnonzero(count < 2 * middle), 2 * middle)
        out = self._shift(leg, count, 2 * middle)
        legs.pcm_at[leg] = 2 * (play + live)
        self._playout.settle(leg, present)
        return out

    def _waiting(self, leg: Index, play: I64, middle: int) -> I64:
        """int64[n]: decoded samples that wait, from the beginning of the frame that is due on; what is older is thrown away."""
        legs = self._legs
        count = legs.pcm_count[leg].astype(np.int64)
        behind = (2 * play - legs.pcm_at[leg]) * middle
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

    def _shift(self, leg: Index, count: I64, frame: int) -> I16:
        """int16[n, frame]: the frame at the front of what waits; the rest goes on waiting."""
        legs = self._legs
        out: I16 = legs.pcm[leg, :frame]
        rest = count - frame
        longest = int(rest.max(initial=0))
        if longest:
            legs.pcm[leg, :longest] = legs.pcm[leg, frame : frame + longest]
        legs.pcm_count[leg] = rest
        return out

    def _decode(self, codec: Opus, leg: Index, slot: Index, count: I64) -> I64:
        """Packets of some legs to the end of what waits; the new counts."""
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

    def _fill(self, codec: Opus, leg: Index, play: I64, count: I64, gap: Index, half: int) -> None:
        """Make up 10 ms that are not there, before what is, or a whole frame at once, for so is its redundancy."""
        _, after = self._packets.find(leg[gap], 2 * play[gap] + 1)
        alone = after | (half > 0)
        for part, halves in ((gap[alone], 1), (gap[~alone], 2)):
            if len(part):
                self._conceal(codec, leg, 2 * play + half + halves, count, part, halves)

    def _conceal(self, codec: Opus, leg: Index, half: I64 | None, count: I64, row: Index, halves: int) -> None:
        """So many 10 ms more for some rows, from the packet after them (number of its 10 ms) if it is there and has redundancy."""
        some, width = leg[row], halves * codec.sample_rate // 100
        if half is None:
            samples = codec.conceal(self._opus_in, some, width)
        else:
            slot, there = self._packets.find(some, half[row])
            size = np.where(there, self._packets.size[slot], 0).astype(np.int32)
            payload = self._packets.data[slot, : int(size.max(initial=1))]
            samples = codec.recover(self._opus_in, some, payload, size, width)
        count[row] = self._append(some, count[row], samples, np.full(len(row), width, np.int32))

    def _hear_linear(self, number: int, leg: Index) -> I16:
        legs, wide = self._legs, number == L16_WIDE
        middle = frame_samples(FRAMES_AT[number]) // 2
        play, live = self._playout.due(leg)
        count = self._waiting(leg, play, middle)
        lost = np.zeros((len(leg), 2), np.bool_)
        for half, end in enumerate((middle, 2 * middle)):
            slot, there = self._packets.find(leg, 2 * play + half)
            row = np.flatnonzero(there & live & (count < end))
            if len(row):
                count[row] = self._read_linear(number, leg[row], slot[row], count[row])
            lost[:, half] = (count < end) | ~live
            self._silence(leg, count, np.flatnonzero(live & (count < end)), end)
        now = np.flatnonzero(live)
        out = np.zeros((len(leg), 2 * middle), np.int16)
        out[now] = self._shift(leg[now], count[now], 2 * middle)
        legs.pcm_count[leg[~live]] = count[~live]
        legs.pcm_at[leg] = 2 * (play + live)
        present: Bool = np.asarray(~lost.all(axis=1))
        self._playout.settle(leg, present)
        self.hush(leg, out, np.flatnonzero(~present & legs.quiet[leg]))
        conceal = coders.CONCEALMENT_WIDE if wide else coders.CONCEALMENT
        self._heal(leg, legs.concealment_wide if wide else legs.concealment, conceal, out, lost)
        return out

    def _read_linear(self, number: int, leg: Index, slot: Index, count: I64) -> I64:
        """Packets of L16 to the end of what waits; the new counts."""
        legs, codec = self._legs, coders.WIDE if number == L16_WIDE else coders.NARROW
        sizes = self._packets.size[slot]
        for size in np.unique(sizes).tolist():
            row = np.flatnonzero(sizes == size)
            samples, got = codec.decode(legs.decoder, leg[row], self._packets.data[slot[row], :size], np.full(len(row), size, np.int32))
            count[row] = self._append(leg[row], count[row], samples, got)
        return count

    def hush(self, leg: Index, samples: I16, row: Index) -> None:
        """Comfort noise of peers that said how their silence sounds, of at most `CONCEALED_MAX` of them."""
        row = row[:CONCEALED_MAX]
        if len(row):
            state = self._legs.noise[leg[row]]
            for first in range(0, samples.shape[1], NOISE.samples):
                samples[row, first : first + NOISE.samples] = NOISE(state, self._rng)
            self._legs.noise[leg[row]] = state

    # Out

    def say(self, codec: int, leg: Index, heard: I32, row: Index, rate: int) -> None:
        """Send to legs of a codec (`G711`: of both laws) ``heard[row]``, int32[m, 20 ms at ``rate``]; row intp[n]."""
        legs = self._legs
        alike = row.astype(np.int64) << 32
        if codec:
            alike |= legs.encoding.take(leg)
        _, first, of = np.unique(alike, return_index=True, return_inverse=True)
        lead = leg[first]
        self._follow(codec, leg, lead, lead[of])
        sound = np.clip(heard[row[first]], -32768, 32767).astype(np.int16)
        if codec == OPUS:
            payload, size = coders.OPUS_AT[rate].encode(self._opus_out, lead, sound)
        else:
            sound = self._out(lead, sound, rate, FRAMES_AT[codec])
            if codec == G711:
                self._say_g711(leg, sound, np.asarray(of, np.intp))
                return
            if codec == G722 and coders.G_722:
                payload, size = coders.G_722.encode(self._g722_out, lead, sound)
            else:
                linear = coders.WIDE if codec == L16_WIDE else coders.NARROW
                payload, size = linear.encode(legs.encoder, lead, sound)
        many = size[of].astype(np.int64)
        sent = many > 0
        self._sender.audio(leg[sent], payload, many[sent], np.asarray(of[sent], np.intp))

    def _say_g711(self, leg: Index, sound: I16, of: Index) -> None:
        law = (self._legs.codec[leg] == PCMA).astype(np.intp)
        payload = np.concatenate([g711.encode(sound, each) for each in (g711.MU, g711.A)])
        self._sender.audio(leg, payload, FRAME_SAMPLES, of + law * len(sound))

    def _follow(self, codec: int, leg: Index, lead: Index, leader: Index) -> None:
        """Legs hear what ``leader``, intp[n], encodes; those that lead again go on from the encoder that they followed."""
        legs = self._legs
        before = legs.follows.take(lead)
        back = np.flatnonzero(before >= 0)
        if len(back):
            to, source = lead[back], before[back]
            sends = legs.codec[source]
            valid = legs.used[source] & (legs.room_rate[source] == legs.room_rate[to])
            valid &= (sends == codec) & (legs.encoding[source] == legs.encoding[to]) if codec else (sends > 0) & (sends <= PCMA)
            to, source = to[valid], source[valid]
            if codec in (OPUS, G722):
                legs.encoder[to] = legs.encoder[source]
            if codec != OPUS:
                legs.history_out[to] = legs.history_out[source]
        legs.follows[leg] = np.where(leader == leg, -1, leader)


FRAMES_AT = {G711: coders.RATE, G722: coders.WIDE_RATE, L16: coders.RATE, L16_WIDE: coders.WIDE_RATE}
"""A codec's own rate, Hz, but for Opus, which has the room's."""
