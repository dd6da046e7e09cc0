"""Who answered: a person or an answering machine, with how sure that is; and the beep after which to speak.

Rules:
- A person says a word or two and waits. A machine speaks on. So the length of the first greeting decides: sound with no pause of
  `PAUSE_END_MS` in it. The confidence is a logistic curve over that length, `MIDDLE_MS` being even odds.
- It is decided when the greeting has ended in a pause, or is too long for a person (`LONG_MS`). Nothing said for `SILENT_MS`: unknown.
- A beep is one pure tone, 350 to 2500 Hz, of `BEEP_MS_MIN` to `BEEP_MS_MAX`: a sine obeys x[n] + x[n-2] = c x[n-1] with
  c = 2 cos(2 pi f / rate), and how well c fits tells how pure it is. Whoever beeps is a machine.
- After a machine was told, the end of its greeting is told as well: a pause, or the beep.

Only legs that wait for an answer need this; cost of 20 ms in batches of 64 to 512: 3-6 us a leg.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.arrays import F32, I16, Bool
from media.tones import activity

PAUSE_END_MS = 700
"""A pause so long ends a greeting."""
MIDDLE_MS = 1700
"""A greeting as long as this comes from a person as often as from a machine."""
WIDTH_MS = 250
LONG_MS = 2600
SILENT_MS = 4000
BEEP_MS_MIN, BEEP_MS_MAX = 120, 1500
BEEP_LEVEL = 300.0
"""Least RMS of a beep."""
BEEP_HZ_MIN, BEEP_HZ_MAX = 350.0, 2500.0
IMPURE_MAX = 0.004
"""Of the power of x[n] + x[n-2] and 4 x[n-1]: what may be left unexplained."""
_SLIDE = 0.04
"""By what a beep's frequency may change between two pieces, relative."""
CONFIDENCE_BEEP = 0.98
_PIECES_PER_SECOND = 100

STATE = np.dtype(
    [
        ("sound", activity.STATE),
        ("began", "i4"),
        ("voice", "i4"),
        ("pause", "i4"),
        ("words", "i2"),
        ("told", "u1"),
        ("ended", "u1"),
        ("frequency", "f4"),
        ("beep", "i4"),
    ]
)
"""State of one leg, all zero at the start: ms before the greeting, ms of it up to its last sound, ms of pause since, stretches of sound in
it, whether who it is and its end were told; frequency of a tone that sounds, Hz, and its ms."""


class AnswerHeard(NamedTuple):
    """Something about who answered."""

    leg: int
    """Row of the batch."""
    what: Literal["human", "machine", "unknown", "beep", "greeting-end"]
    confidence: float
    """0.5 (no idea) to 1."""
    milliseconds: int
    """Length of the greeting, of the silence (``unknown``), or of the beep."""
    words: int
    """Stretches of sound in the greeting."""
    frequency: float = 0.0
    """Of the beep, Hz."""


def machine_likelihood(greeting_ms: float) -> float:
    """0 to 1: how sure a greeting so long comes from a machine."""
    return float(1 / (1 + np.exp((MIDDLE_MS - greeting_ms) / WIDTH_MS)))


def listen(state: NDArray[Any], samples: I16, rate: int = 8000) -> list[AnswerHeard]:
    """What a frame tells about who answered.

    Args:
        state: `STATE`\\ [legs], changed in place; zeroed when the call is answered.
        samples: int16[legs, n], n a multiple of 10 ms.
        rate: of the samples, Hz.
    """
    frame_ms = samples.shape[1] * 1000 // rate
    heard = _beeps(state, samples, rate)
    sounds = activity.active(state["sound"], samples, rate)
    voice, pause = state["voice"], state["pause"]
    started = voice > 0
    state["began"] += np.where(started | sounds, 0, frame_ms)
    state["words"] += sounds & (~started | (pause >= 60))
    voice += np.where(sounds, np.where(started, pause, 0) + frame_ms, 0)
    pause[:] = np.where(sounds | ~started, 0, pause + frame_ms)
    over = started & (pause >= PAUSE_END_MS)
    undecided = state["told"] == 0
    for row in np.flatnonzero(undecided & (over | (voice >= LONG_MS))).tolist():
        heard.append(_decide(state, row))
    for row in np.flatnonzero(undecided & (state["began"] >= SILENT_MS)).tolist():
        state["told"][row] = 1
        heard.append(AnswerHeard(row, "unknown", 0.5, int(state["began"][row]), 0))
    for row in np.flatnonzero((state["told"] == 2) & (state["ended"] == 0) & over).tolist():
        state["ended"][row] = 1
        heard.append(AnswerHeard(row, "greeting-end", 1.0, int(voice[row]), int(state["words"][row])))
    return heard


def _decide(state: NDArray[Any], row: int) -> AnswerHeard:
    length = int(state["voice"][row])
    likelihood = machine_likelihood(length)
    machine = likelihood >= 0.5
    state["told"][row] = 2 if machine else 1
    return AnswerHeard(row, "machine" if machine else "human", max(likelihood, 1 - likelihood), length, int(state["words"][row]))


def _beeps(state: NDArray[Any], samples: I16, rate: int) -> list[AnswerHeard]:
    legs, count = samples.shape
    size = rate // _PIECES_PER_SECOND
    pieces = samples.reshape(legs, count // size, size).astype(np.float32)
    frequencies, pure = _sines(pieces, rate)
    heard: list[AnswerHeard] = []
    busy = np.flatnonzero(pure.any(axis=1) | (state["beep"] > 0))
    for row in busy.tolist():
        for frequency, is_pure in zip(frequencies[row].tolist(), pure[row].tolist(), strict=True):
            lasted, before = int(state["beep"][row]), float(state["frequency"][row])
            if is_pure and (not lasted or abs(frequency - before) <= _SLIDE * before):
                state["beep"][row], state["frequency"][row] = lasted + 10, frequency
                continue
            state["beep"][row], state["frequency"][row] = (10, frequency) if is_pure else (0, 0.0)
            if BEEP_MS_MIN <= lasted <= BEEP_MS_MAX:
                words = int(state["words"][row])
                if state["told"][row] != 2:
                    heard.append(AnswerHeard(row, "machine", CONFIDENCE_BEEP, int(state["voice"][row]), words))
                state["told"][row], state["ended"][row] = 2, 1
                heard.append(AnswerHeard(row, "beep", CONFIDENCE_BEEP, lasted, words, before))
    return heard


def _sines(pieces: F32, rate: int) -> tuple[F32, Bool]:
    """Of each of float32[legs, pieces, n]: the frequency of the sine that fits best, Hz, and whether it is one."""
    ends, middle = pieces[:, :, 2:] + pieces[:, :, :-2], pieces[:, :, 1:-1]
    ends_power, middle_power = np.einsum("lpt,lpt->lp", ends, ends), np.einsum("lpt,lpt->lp", middle, middle)
    factor = np.einsum("lpt,lpt->lp", ends, middle) / np.maximum(middle_power, 1)
    rest = ends_power - factor * factor * middle_power
    frequency = np.arccos(np.clip(factor / 2, -1, 1)) * np.float32(rate / (2 * np.pi))
    pure = (middle_power >= BEEP_LEVEL**2 * middle.shape[2]) & (rest <= IMPURE_MAX * (ends_power + 4 * middle_power))
    return frequency, pure & (frequency >= BEEP_HZ_MIN) & (frequency <= BEEP_HZ_MAX)
