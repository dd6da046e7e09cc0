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

TONE_FRAMES = sources.DTMF_FRAMES
END_PACKETS = 3
PAUSE_FRAMES = 2
VOLUME = 10
"""-10 dBm0."""
_STEPS = TONE_FRAMES + END_PACKETS + PAUSE_FRAMES


class DigitsOut:
    """What all legs press."""

    def __init__(self, legs: Legs, sender: Sender, bank: Bank) -> None:
        self._legs, self._sender, self._bank = legs, sender, bank
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
        legs.digit_tone_at[begins] = 0
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
        """In the audio of G.711; other codecs have telephone-event or nothing."""
        legs = self._legs
        leg = np.asarray(leg[(legs.codec[leg] > 0) & (legs.codec[leg] <= PCMA)], np.int32)
        if not len(leg):
            return
        step = legs.digit_step[leg]
        first = np.array(self._bank.digits)[legs.digits[leg, 0]]
        frame = np.where(step <= TONE_FRAMES, first + step - 1, self._bank.silence)
        self._sender.audio(leg, self._bank.coded[legs.codec[leg] - 1, frame], FRAME_SAMPLES)
