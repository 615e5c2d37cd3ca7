"""Properties of the public losses: symmetries, bounds, extreme numbers, errors."""

import importlib.util
from types import FunctionType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff import losses
from taildiff.errors import InputError, SpecError

SEEDS = st.integers(0, 2**20)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def permuted(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.integers(2, 9))
def test_permuting_the_batch_permutes_the_values(seed, n):
    h, other, labels = random(n, 3, 2, seed=seed), random(n, 3, 2, seed=seed + 1), torch.arange(n) % 3
    p = permuted(n, seed)
    for function in (losses.alignment, losses.class_balancing, losses.overlap):
        torch.testing.assert_close(function(h[p], other[p]), function(h, other)[p])
    torch.testing.assert_close(losses.unsupervised_contrastive(h[p]), losses.unsupervised_contrastive(h)[p])
    contrasted = losses.supervised_contrastive(h, labels)
    torch.testing.assert_close(losses.supervised_contrastive(h[p], labels[p]), contrasted[p])
    assert torch.equal(losses.anchor_weight(labels[p]), losses.anchor_weight(labels)[p])
    torch.testing.assert_close(losses.dispersive(h[p]), losses.dispersive(h))
    sigma = random(n, seed=seed + 2).exp()
    moved = losses.transfer_weights(h[p], other[p], sigma[p])
    torch.testing.assert_close(moved, losses.transfer_weights(h, other, sigma)[p][:, p])


@given(SEEDS, st.floats(1e-6, 1e6))
def test_ucl_does_not_see_the_scale_of_features(seed, scale):
    h = random(5, 7, seed=seed)
    each = torch.linspace(1, 3, 5).double()[:, None] * scale
    torch.testing.assert_close(losses.unsupervised_contrastive(each * h), losses.unsupervised_contrastive(h))


@given(SEEDS, st.floats(-1e3, 1e3))
def test_dispersive_does_not_see_a_shift_and_has_bounds(seed, shift):
    h = random(6, 7, seed=seed).float()
    loss = losses.dispersive(h)
    torch.testing.assert_close(losses.dispersive(h + shift), loss, atol=1e-3, rtol=0)
    assert -np.log(6) <= loss <= 0
    assert losses.dispersive(1e3 * h) == pytest.approx(-np.log(6), abs=1e-6)
    assert losses.dispersive(h[:1].repeat(6, 1)) == pytest.approx(0, abs=1e-6)


@given(SEEDS, st.integers(2, 9), st.floats(-7, 7))
def test_transfer_weights_are_distributions(seed, n, log_sigma):
    sigma = torch.full((n, 1, 1), np.exp(log_sigma), dtype=torch.float32)
    x0 = random(n, 3, 4, seed=seed).float()
    weights = losses.transfer_weights(x0, random(n, 3, 4, seed=seed + 1).float(), sigma)
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), torch.ones(n))
    flat = losses.transfer_weights(x0, torch.zeros_like(x0), torch.full((n,), 1e4))
    torch.testing.assert_close(flat, torch.full((n, n), 1 / n), atol=1e-5, rtol=0)


@given(SEEDS, st.integers(2, 12))
def test_transfer_goes_one_way(seed, n):
    generator = torch.Generator().manual_seed(seed)
    weights, u = torch.rand(n, n, generator=generator).softmax(1), torch.rand(n, generator=generator)
    labels, frequency = (torch.randint(high, (size,), generator=generator) for high, size in ((4, n), (9, 4)))
    own, drawn = torch.arange(n), losses.transfer_index(weights, u, labels, frequency, "full")
    for mode, sign in (("t2h", 1), ("h2t", -1)):
        index = losses.transfer_index(weights, u, labels, frequency, mode)
        gain = sign * (frequency[labels[index]] - frequency[labels])
        assert (gain >= 0).all()
        assert ((index == drawn) | (index == own)).all()
        assert (index == drawn)[sign * (frequency[labels[drawn]] - frequency[labels]) >= 0].all()


@given(SEEDS, st.integers(2, 9))
def test_left_out_samples_are_neither_anchors_nor_references(seed, n):
    h, labels = random(n + 3, 4, seed=seed), torch.arange(n + 3) % 3
    keep = permuted(n + 3, seed) >= 3
    values = losses.supervised_contrastive(h, labels, keep=keep)
    torch.testing.assert_close(values[keep], losses.supervised_contrastive(h[keep], labels[keep]))
    assert (values[~keep] == 0).all()
    weights = losses.anchor_weight(labels, keep)
    counted = values[weights > 0]
    mean = (values * weights).mean()
    torch.testing.assert_close(mean, counted.mean() if len(counted) else torch.zeros(()).double())


# ---- numbers that hurt


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_halves_give_finite_values_and_gradients(dtype):
    leaves = [(random(6, 8, 2, seed=i) * 1e4).to(dtype).requires_grad_() for i in (0, 1)]
    h, other = leaves
    labels, sigma = torch.arange(6) % 2, torch.ones(6)
    values = [
        losses.unsupervised_contrastive(h),
        losses.supervised_contrastive(h, labels),
        losses.alignment(h, other),
        losses.class_balancing(h, other),
        losses.overlap(h, other),
        losses.dispersive(h),
        losses.transfer_weights(h, other, sigma),
    ]
    for value in values:
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        found = torch.autograd.grad(value.sum(), leaves, retain_graph=True, allow_unused=True)
        assert all(g.isfinite().all() for g in found if g is not None)


def test_autocast_does_not_reach_the_distances():
    h, other, sigma = random(6, 64).float(), random(6, 64, seed=1).float(), torch.full((6,), 0.1)

    def values():
        yield losses.unsupervised_contrastive(h)
        yield losses.dispersive(h)
        yield losses.supervised_contrastive(h, torch.arange(6) % 2)
        yield losses.transfer_weights(h, other, sigma)

    plain = list(values())
    with torch.autocast("cpu", torch.bfloat16):
        cast = list(values())
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


def test_equal_features_are_the_worst_case():
    same = torch.ones(4, 8, dtype=torch.float64)
    torch.testing.assert_close(losses.unsupervised_contrastive(same), torch.full((4,), np.log(4.0)).double())
    assert losses.dispersive(same) == 0


def test_errors():
    one, two = torch.ones(1, 4), torch.ones(2, 4)
    for function in (losses.unsupervised_contrastive, losses.dispersive):
        with pytest.raises(InputError, match="at least 2"):
            function(one)
    with pytest.raises(InputError, match="at least 2"):
        losses.supervised_contrastive(one, torch.zeros(1))
    for function in (losses.alignment, losses.class_balancing, losses.overlap):
        with pytest.raises(InputError, match=r"\(2, 4\) and \(1, 4\)"):
            function(two, one)
    with pytest.raises(SpecError, match="did you mean 't2h'"):
        losses.transfer_index(torch.eye(2), torch.zeros(2), torch.zeros(2).long(), torch.ones(1), "th2")
    with pytest.raises(InputError, match="index of each sample among the references"):
        losses.transfer_index(torch.eye(2), torch.zeros(2), torch.zeros(2).long(), torch.ones(1), own=torch.zeros(3))
    with pytest.raises(SpecError, match="noise, clean, none"):
        losses.noise_weight(torch.ones(2), "nosie")


def test_names_shared_by_a_module_and_a_function_are_the_function():
    for name in losses.__all__:
        if importlib.util.find_spec(f"taildiff.losses.{name}"):
            importlib.import_module(f"taildiff.losses.{name}")
        assert isinstance(getattr(losses, name), FunctionType)
