"""DTMF that goes out: telephone-event where the peer agreed on it, else tones in the audio.

Rules (RFC 4733 section 2.5):
- A digit lasts `TONE_FRAMES`; a packet every frame with the duration so far, all with the timestamp of its begin, the first one marked.
- Its end is said three times, a frame apart; then a pause. Audio is not sent meanwhile.
"""

import numpy as np

from media import sources
from media.arrays import U8, Index
from media.bank import Bank
from media.codecs import PCMA
from media.events import DIGITS
from media.legs import DIGITS_MAX, FRAME_SAMPLES, FRAME_SECONDS, Legs
from media.send import Sender
from media.transcode import Transcoder

TONE_FRAMES = sources.DTMF_FRAMES
END_PACKETS = 3
PAUSE_FRAMES = 2
VOLUME = 10
"""-10 dBm0."""
_STEPS = TONE_FRAMES + END_PACKETS + PAUSE_FRAMES


class DigitsOut:
    """What all legs press."""

    def __init__(self, legs: Legs, sender: Sender, bank: Bank, transcoder: Transcoder) -> None:
        self._legs, self._sender, self._bank, self._transcoder = legs, sender, bank, transcoder
        self.busy = True
        """Somebody may be pressing keys."""

    def queue(self, leg: int, digits: str) -> bool:
        """Let a leg press keys, of `events.DIGITS`; False: more than `DIGITS_MAX` would wait."""
        legs = self._legs
        waiting = int(legs.digits_waiting[leg])
        if waiting + len(digits) > DIGITS_MAX:
            return False
        legs.digits[leg, waiting : waiting + len(digits)] = [DIGITS.index(digit) for digit in digits]
        legs.digits_waiting[leg] = waiting + len(digits)
        self.busy = True
        return True

    def tick(self, phase: int) -> None:
        """Send one frame of every leg of this phase that presses a key; their clocks have been advanced."""
        if not self.busy:
            return
        legs = self._legs
        waiting = np.flatnonzero(legs.digits_waiting)
        if not len(waiting):
            self.busy = False
            return
        leg = waiting[legs.phase[waiting] == phase].astype(np.int32)
        step = legs.digit_step[leg] + np.int16(1)
        legs.digit_step[leg] = step
        begins = leg[step == 1]
        legs.digit_timestamp[begins] = legs.timestamp_out[begins]
        sends = legs.sends[leg]
        event = sends & (legs.event_type[leg] > 0)
        self._events(leg[event & (step <= TONE_FRAMES + END_PACKETS)])
        self._tones(leg[sends & ~event])
        over = leg[step >= _STEPS]
        if len(over):
            legs.digits[over, :-1] = legs.digits[over, 1:]
            legs.digits_waiting[over] -= 1
            legs.digit_step[over] = 0
            # Whatever is relayed next joins on to the digits.
            legs.relay_source[over] = -1
            legs.marker[over] = True

    def _events(self, leg: Index) -> None:
        if not len(leg):
            return
        legs = self._legs
        step = legs.digit_step[leg].astype(np.int64)
        duration = np.minimum(step, TONE_FRAMES) * (legs.event_rate[leg] * FRAME_SECONDS).astype(np.int64)
        payload: U8 = np.zeros((len(leg), 4), np.uint8)
        payload[:, 0] = legs.digits[leg, 0]
        payload[:, 1] = VOLUME | np.where(step > TONE_FRAMES, 0x80, 0)
        payload[:, 2:4] = duration.astype(">u2").view(np.uint8).reshape(-1, 2)
        second = legs.event_type[leg] | np.where(step == 1, 0x80, 0).astype(np.uint8)
        self._sender.packets(leg, second, legs.digit_timestamp[leg], payload, 4)

    def _tones(self, leg: Index) -> None:
        """In the audio: of G.711 as it was encoded once for all, of other codecs each."""
        legs, bank = self._legs, self._bank
        leg = np.asarray(leg[legs.codec[leg] > 0], np.intp)
        if not len(leg):
            return
        step = legs.digit_step[leg]
        first = np.array(bank.digits)[legs.digits[leg, 0]]
        silent = step > TONE_FRAMES
        frame, first = np.where(silent, bank.silence, first + step - 1), np.where(silent, bank.silence, first)
        plain = legs.codec[leg] <= PCMA
        if plain.any():
            self._sender.audio(leg[plain], bank.coded[legs.codec[leg[plain]] - 1, frame[plain]], FRAME_SAMPLES)
        rates = legs.room_rate[leg]
        for rate in np.unique(rates[~plain]).tolist():
            mine = ~plain & (rates == rate)
            self._transcoder.say(leg[mine], bank.at_rate(frame[mine], first[mine], rate).astype(np.int32), rate=rate)
