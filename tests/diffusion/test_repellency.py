"""SPELL's shift: the formula pair by pair, and the sphere that it ends on."""

import pytest
import torch

from taildiff.diffusion.repellency import push


def test_the_formula_pair_by_pair():
    draw = torch.Generator().manual_seed(0)
    x0, z = torch.randn(7, 12, generator=draw), torch.randn(9, 12, generator=draw)
    x0[3] = z[5]
    radius = float(torch.cdist(x0, z).median())
    shift = push(x0, z, radius)
    for i, image in enumerate(x0.double()):
        expected = torch.zeros(12, dtype=torch.float64)
        for other in z.double():
            distance = float((image - other).norm())
            if distance > 0:
                expected += max(radius / distance - 1, 0) * (image - other)
        torch.testing.assert_close(shift[i].double(), expected, rtol=1e-5, atol=1e-5)
    assert shift.dtype == torch.float32


@pytest.mark.parametrize("gap", [1e-4, 0.3, 0.99])
def test_one_near_image_moves_it_onto_the_sphere(gap):
    z = torch.full((1, 784), 0.5)
    x0 = z + gap / 28
    assert float((x0 + push(x0, z, 1.0) - z).norm()) == pytest.approx(1, rel=1e-3)


def test_nothing_moves_at_distance_0_or_beyond_the_radius():
    z = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    assert not push(z[:1], z[:1], 5.0).any()
    far = z + 10
    assert not push(far, z, 5.0).any()
