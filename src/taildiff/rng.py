"""Random streams: every random number is a pure function of (seed, purpose, position), never of earlier draws.

This makes runs resume bit for bit and methods comparable: an objective that draws an additional number does not shift
the others. Keys go through numpy's SeedSequence, so that nearby seeds give unrelated streams.
"""

import zlib

import numpy as np


def seed_of(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position (a step, an image); seeds may be negative."""
    words = [seed & (2**64 - 1), zlib.crc32(purpose.encode()), *position]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A numpy generator for one purpose at one position."""
    return np.random.Generator(np.random.Philox(seed_of(seed, purpose, *position)))
