"""From the frames that are due to samples at the room's rate, and from samples to packets: for legs of any codec at once.

Rules:
- G.711 is a table lookup for a whole block; legs of other codecs are taken out of the block, served (`media.coded`), and put back.
- A gap is filled as G.711 appendix I does; other codecs fill their own. After comfort noise of the peer a gap is silence that was meant,
  and sounds as the peer says (RFC 3389); not in larger rooms, which cost their talkers.
- Frames that say nothing are not decoded where most are such.
- A room at 8 kHz whose legs all have G.711 knows nothing of other rates.
"""

from typing import NamedTuple

import numpy as np
from numpy import count_nonzero as how_many

from media import coders, g711, levels
from media.arrays import I16, I32, U8, Bool, Index
from media.codecs import G722, L16, L16_WIDE, OPUS, PCMA
from media.coded import CONCEALED_FRAMES, CONCEALED_MAX, G711, Coded
from media.jitter import Frames, JitterRing, PacketRing, Playout
from media.legs import FRAME_SAMPLES, Legs
from media.mixer import Mixer
from media.rates import RATES, frame_samples, ringing
from media.send import Sender

_HISTORY_FRAMES = 3
_NARROW = RATES[0]


class Heard(NamedTuple):
    """The frames that were due of some legs."""

    row: Index | None
    """intp[k]: which of the legs say something, ascending; None: all are there."""
    samples: I16
    """int16[k, 20 ms at the room's rate]; lent until the next call."""
    level: U8
    """uint8[n]: `media.levels`, of all legs."""
    own: Index | None = None
    """intp[m]: which of the legs hear something of their own where ``row`` is given; None: those of ``row``."""


class Transcoder:
    """Decoders and encoders of all legs."""

    def __init__(self, legs: Legs, playout: Playout, ring: JitterRing, packets: PacketRing, mixer: Mixer, sender: Sender) -> None:
        self._legs, self._ring, self._mixer, self._sender = legs, ring, mixer, sender
        self._coded = Coded(legs, playout, ring, packets, sender)

    def begin(self, leg: int, codec: int, parameters: str) -> None:
        """A leg sends and receives another codec from now on: make its state ready."""
        self._coded.begin(leg, codec, parameters)
        self.listen(np.array([leg]), np.array([codec], np.uint8))

    def listen(self, leg: Index, codec: U8) -> None:
        """Legs receive another codec from now on, uint8[n]."""
        self._coded.listen(leg, codec)

    def retune(self, leg: int, rate: int, parameters: str) -> None:
        """A leg is heard and served at another rate from now on, Hz; ``parameters``: of its codec."""
        self._coded.retune(leg, rate, parameters)

    def take_over(self) -> None:
        """Go on with the codecs' states that another process left; what this build can't read begins anew."""
        self._coded.take_over()

    def hear(self, leg: Index, quiet: int = -1, rate: int = _NARROW) -> Heard:
        """The frames that are due; ``leg`` intp[n], all different. Levels up to ``quiet`` say nothing. ``rate``: of their rooms, Hz."""
        legs = self._legs
        codec = legs.codec_in.take(leg)
        if how_many(codec > PCMA) or rate != _NARROW:
            return self._hear_each(leg, codec, quiet, rate)
        return self._hear_plain(leg, codec, quiet)

    def _hear_plain(self, leg: Index, codec: U8, quiet: int) -> Heard:
        """G.711, at its own rate."""
        legs = self._legs
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

    def _hear_each(self, leg: Index, codec: U8, quiet: int, rate: int) -> Heard:
        """Any codecs."""
        out = np.zeros((len(leg), frame_samples(rate)), np.int16)
        level = np.zeros(len(leg), np.uint8)
        talks = np.zeros(len(leg), np.bool_)
        plain = np.flatnonzero(codec <= PCMA)
        if len(plain):
            heard = self._hear_plain(leg[plain], codec[plain], quiet)
            said = plain if heard.row is None else plain[heard.row]
            level[plain] = heard.level
            talks[said] = True
            if rate == _NARROW:
                out[said] = heard.samples
            else:
                self._raise(leg, plain, said, heard.samples, out, rate)
        for number in (G722, OPUS, L16, L16_WIDE):
            mine = np.flatnonzero(codec == number)
            if len(mine):
                out[mine] = sound = self._coded.hear(number, leg[mine], rate)
                level[mine] = levels.of_samples(sound)
                talks[mine] = level[mine] > quiet
        if rate == _NARROW:
            row = self._talking(level, quiet)
            return Heard(row, out if row is None else out[row], level)
        says, own = ringing(self._legs.tail, leg, talks)
        if 2 * how_many(own) >= len(leg):
            return Heard(None, out, level)
        row = np.flatnonzero(says)
        return Heard(row, out[row], level, np.flatnonzero(own))

    def _raise(self, leg: Index, plain: Index, said: Index, samples: I16, out: I16, rate: int) -> None:
        """G.711 to the rate of its room: of those who said something now or a frame ago."""
        rows = np.union1d(said, plain[self._legs.tail.take(leg[plain]) > 0])
        frames = np.zeros((len(rows), FRAME_SAMPLES), np.int16)
        frames[np.searchsorted(rows, said)] = samples
        out[rows] = self._coded.into(leg[rows], frames, _NARROW, rate)

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
            self._coded.hush(leg, samples, np.flatnonzero(silent & legs.quiet[leg]))
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

    def say(self, leg: Index, heard: I32, row: Index | None = None, rate: int = _NARROW) -> None:
        """Send a frame to each of some legs: int32[n, 20 ms at ``rate``] (written over); with ``row``, each is sent ``heard[row]``."""
        codec = self._legs.codec.take(leg)
        if rate == _NARROW and not how_many(codec > PCMA):
            self._say_plain(leg, codec, heard, row)
            return
        for number in (G722, OPUS, L16, L16_WIDE):
            mine = np.flatnonzero(codec == number)
            if len(mine):
                self._coded.say(number, leg[mine], heard, mine if row is None else row[mine], rate)
        plain = np.flatnonzero(codec <= PCMA)
        if len(plain) and rate != _NARROW:
            self._coded.say(G711, leg[plain], heard, plain if row is None else row[plain], rate)
        elif len(plain):
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
