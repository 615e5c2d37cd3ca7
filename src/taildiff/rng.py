"""Random streams: every random number is a pure function of (seed, purpose, position), never of earlier draws.

This makes runs resume bit for bit and methods comparable: an objective that draws an additional number does not shift
the others. A stream is Philox-4x64 (Salmon et al. 2011), a counter-based generator whose 128-bit key is a hash of
(seed, purpose, position), so that no two of them share a stream. torch's own CPU generator takes 32 bits of its seed.
"""

from hashlib import blake2b

import numpy as np


def seed_of(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position (a step, an image); any integers, negative ones included."""
    return _key(seed, purpose, position) >> 65


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A numpy generator for one purpose at one position."""
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose, position)))


def _key(seed: int, purpose: str, position: tuple[int, ...]) -> int:
    """128 bits of the written-out key, so that positions of different lengths never agree."""
    text = repr((int(seed), purpose, *map(int, position)))
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "little")
