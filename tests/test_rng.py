import itertools

import numpy as np
import pytest
import torch

from taildiff.diffusion.random_tensors import RandomTensors
from taildiff.rng import seed_of, stream
from taildiff.sampling.generate import ranks_of


def test_every_key_has_its_own_stream():
    """Among them pairs that differ only in length, sign, or the place of a number."""
    positions = [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (-1,), (2**32,), (2**64,), (2**64, 1)]
    seeds = [0, 1, -1, 2**32, 2**63, 2**64, 2**64 + 1]
    keys = list(itertools.product(seeds, ("image", "level", ""), positions))
    assert len({seed_of(seed, purpose, *position) for seed, purpose, position in keys}) == len(keys)
    first = {stream(seed, purpose, *position).bytes(16) for seed, purpose, position in keys}
    assert len(first) == len(keys)
    assert seed_of(3, "a") != seed_of(3, "a", 0)


def test_numbers_are_fixed():
    """Changing these values changes every run and sample: say so in CHANGELOG.md."""
    assert seed_of(0, "image", 3, 7) == 3461238844038881959
    assert stream(0, "image", 3, 7).integers(2**32, size=3).tolist() == [2448845096, 2507171005, 186483960]
    assert seed_of(np.int64(0), "image", np.int64(3), np.int32(7)) == 3461238844038881959  # pyright: ignore[reportArgumentType]


def test_more_than_32_bits_of_the_key_count():
    """torch's CPU generator uses the low 32 bits of a seed, so that a million images hold about 116 equal pairs."""
    a, b = 5, 5 + 2**32
    assert torch.equal(*(torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in (a, b)))
    assert not torch.equal(RandomTensors(a, "image").normal(4), RandomTensors(b, "image").normal(4))


@pytest.mark.slow
def test_a_million_images_share_no_noise():
    first = {stream(0, "image", label, rank).bytes(8) for label in range(20) for rank in range(50_000)}
    assert len(first) == 1_000_000


def test_random_tensors_have_their_distribution():
    random = RandomTensors(1, "test")
    normal, uniform, integers = random.normal(50_000, 2), random.uniform(100_000), random.integers(10, 100_000)
    assert (normal.dtype, uniform.dtype, integers.dtype) == (torch.float32, torch.float32, torch.int64)
    assert normal.mean().abs() < 0.01
    assert normal.std() == pytest.approx(1, abs=0.01)
    assert (normal**4).mean() == pytest.approx(3, abs=0.1)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.var() == pytest.approx(1 / 12, abs=0.002)
    assert integers.bincount().tolist() == pytest.approx([10_000] * 10, abs=450)


def test_ranks_count_within_each_label():
    labels = np.array([3, 0, 3, 3, 1, 0])
    assert ranks_of(labels).tolist() == [0, 0, 1, 2, 0, 1]
    assert ranks_of(labels[:0]).tolist() == []
