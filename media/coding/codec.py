"""What every codec of the engine offers.

Rules:
- A codec object holds no state of a leg: that is one row of bytes in an array of the caller, so that it can live in a memory file
  and another process can go on with it. Encoders and decoders are rows apart.
- A row is made ready by `reset_encoder` or `reset_decoder`. A row that another process left is ours when it is first used, if the same
  build of the codec wrote it (`readable`).
- A call works on many legs: ``rows`` names the rows of the state; samples and payloads are in the same order.
- Bytes from the network never raise: a payload that is none gives no samples (count 0), and its caller conceals the gap.
- Samples of several channels are interleaved. Counts of samples are counts per row, all channels together.
"""

from typing import Protocol

import numpy as np

from media.arrays import I16, I32, U8, Bool, Index

STATE_ALIGNMENT_BYTES = 64
"""Rows of state are whole cache lines."""


class StateError(ValueError):
    """Rows of state were never reset, or were written by another build of the codec."""


class Codec(Protocol):
    """A codec at one sample rate and number of channels."""

    @property
    def name(self) -> str:
        """Encoding name of ``a=rtpmap`` (RFC 3551, RFC 7587)."""

    @property
    def clock_rate(self) -> int:
        """RTP clock, Hz."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of each channel, Hz."""

    @property
    def channels(self) -> int:
        """1 or 2."""

    @property
    def encoder_bytes(self) -> int:
        """Size of a row of encoder state; 0: no state, any array will do."""

    @property
    def decoder_bytes(self) -> int:
        """Size of a row of decoder state; 0: no state."""

    def reset_encoder(self, state: U8, rows: Index) -> None:
        """Begin streams: ``uint8[legs, encoder_bytes]``, rows of it."""

    def reset_decoder(self, state: U8, rows: Index) -> None:
        """Begin streams: ``uint8[legs, decoder_bytes]``, rows of it."""

    def readable(self, state: U8, rows: Index) -> Bool:
        """bool[len(rows)]: rows of either state that this build can go on with; others are to be reset."""

    def encode(self, state: U8, rows: Index, samples: I16) -> tuple[U8, I32]:
        """One packet of each row.

        Args:
            samples: int16[len(rows), n].

        Returns:
            uint8[len(rows), bytes] and the length of each payload; 0: nothing is to be sent (DTX).
        """

    def decode(self, state: U8, rows: Index, payload: U8, lengths: I32) -> tuple[I16, I32]:
        """One packet of each row.

        Args:
            payload: uint8[len(rows), bytes], of which ``lengths`` count.

        Returns:
            int16[len(rows), samples] and how many of each row count.
        """


class Stateless:
    """The part of a `Codec` that keeps nothing between packets."""

    @property
    def encoder_bytes(self) -> int:
        return 0

    @property
    def decoder_bytes(self) -> int:
        return 0

    def reset_encoder(self, state: U8, rows: Index) -> None:
        pass

    def reset_decoder(self, state: U8, rows: Index) -> None:
        pass

    def readable(self, state: U8, rows: Index) -> Bool:
        return np.ones(len(rows), np.bool_)
