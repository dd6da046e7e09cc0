"""Run by a test as a process of its own: goes on with the Opus states of another process, and prints what came of it.

Arguments: descriptor of the memory file, rate, frames. The file: encoder state, decoder state, then int16 samples.
"""

import hashlib
import mmap
import sys

import numpy as np

from media.coding.opus import Opus


def main(descriptor: int, rate: int, frames: int) -> None:
    codec = Opus(rate)
    memory = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8)
    first, second = codec.encoder_bytes, codec.encoder_bytes + codec.decoder_bytes
    encoder, decoder = memory[:first].reshape(1, -1), memory[first:second].reshape(1, -1)
    sound = memory[second:].view(np.int16).reshape(-1, rate // 50)[-frames:]
    print(codec._opus.image[0], run(codec, encoder, decoder, sound))


def run(codec: Opus, encoder: np.ndarray, decoder: np.ndarray, sound: np.ndarray) -> str:
    """Hash of every payload and every decoded sample."""
    row, seen = np.arange(1), hashlib.sha256()
    for frame in sound:
        payload, lengths = codec.encode(encoder, row, frame[None])
        samples, counts = codec.decode(decoder, row, payload, lengths)
        seen.update(payload[0, : lengths[0]].tobytes() + samples[0, : counts[0]].tobytes())
    return seen.hexdigest()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
