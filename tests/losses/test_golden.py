"""The public losses: equal to the references and to their formulas, in value and gradient."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from taildiff import losses

T = torch.from_numpy


def close(ours, expected, tolerance=1e-6):
    np.testing.assert_allclose(ours.detach(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def gradients(value, *inputs):
    return torch.autograd.grad(value, inputs)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- golden numbers, in value and gradient


def test_ucl_equals_the_release(golden):
    z = golden("ucl")
    features = T(z["features"]).requires_grad_()
    values = losses.unsupervised_contrastive(features, float(z["temperature"]))
    close(values, z["per_sample"])
    mean = (losses.noise_weight(T(z["t"]) / int(z["T"])) * values).mean()
    close(mean, z["weighted_mean"])
    close(gradients(mean, features)[0], z["grad"])


def test_ccua_step_equals_the_release(golden):
    z = golden("ccua_step")
    w = losses.noise_weight(T(z["t"]).double() / int(z["T"]), "noise")
    conditional, null, features = (T(z[k]).requires_grad_() for k in ("eps_cond", "eps_uncond", "features_uncond"))
    al = (w * losses.alignment(conditional, null)).mean()
    close(al, z["loss_al"])
    for ours, name in zip(gradients(al, conditional, null), ("cond", "uncond"), strict=True):
        close(ours, z[f"grad_al_eps_{name}"])
    ucl = (w * losses.unsupervised_contrastive(features)).mean()
    close(ucl, z["loss_ucl"])
    close(gradients(ucl, features)[0], z["grad_ucl_features"])


def test_ccua_on_tokens_equals_the_release(golden):
    z = golden("ccua_sit")
    w = losses.noise_weight(1 - T(z["t_data_fraction"]), "clean")
    tokens = T(z["tokens"]).requires_grad_()
    ucl = (w * losses.unsupervised_contrastive(tokens, float(z["temperature"]))).mean()
    close(ucl, z["loss_ucl"])
    close(gradients(ucl, tokens)[0], z["grad_ucl_tokens"])
    close((w * losses.alignment(T(z["v_cond"]), T(z["v_uncond"]))).mean(), z["loss_al"])


def test_class_balancing_equals_the_release(golden):
    z = golden("cbdm")
    eps, auxiliary = T(z["eps"]).requires_grad_(), T(z["eps_aux"]).requires_grad_()
    s = T(z["t"]).double() / int(z["T"])
    loss = float(z["tau"]) * (s * losses.class_balancing(eps, auxiliary)).mean()
    close(loss, z["loss"])
    for ours, name in zip(gradients(loss, eps, auxiliary), ("eps", "eps_aux"), strict=True):
        close(ours, z[f"grad_{name}"])


def test_dispersive_equals_the_release(golden):
    z = golden("dispersive")
    tokens = T(z["tokens"]).requires_grad_()
    loss = losses.dispersive(tokens, float(z["tau"]))
    close(loss, z["loss"])
    close(gradients(loss, tokens)[0], z["grad"])


def test_supervised_contrastive_equals_the_reference(golden):
    z = golden("supcon")
    embeddings, labels = T(z["z"]).requires_grad_(), T(z["y"])
    values = losses.supervised_contrastive(embeddings, labels, float(z["temperature"]))
    assert values.shape == labels.shape
    alone = torch.bincount(labels)[labels] == 1
    assert alone.any()
    assert torch.equal(values == 0, alone)
    loss = (values * losses.anchor_weight(labels)).mean()
    close(loss, z["loss"])
    close(gradients(loss, embeddings)[0], z["grad"])


def ddpm(z):
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[T(z["t"])]
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


@pytest.mark.parametrize("mode", ["full", "t2h", "h2t"])
@pytest.mark.parametrize("rank", [0, 1])
def test_transfer_equals_the_release(golden, mode, rank):
    z = golden("oc_transfer")
    x0, eps, labels = T(z["x0"]), T(z["noise"]), T(z["y"])
    alpha, sigma = ddpm(z)
    weights = losses.transfer_weights(x0, eps, sigma / alpha)
    close(weights, z["weights"])
    drawn = weights.argsort(1, descending=True)[:, rank]
    certain = torch.nn.functional.one_hot(drawn, len(labels)).double()
    index = losses.transfer_index(certain, torch.full((8,), 0.5), labels, T(z["class_freq"]), mode)
    x_s = alpha.view(-1, 1, 1, 1) * x0 + sigma.view(-1, 1, 1, 1) * eps
    expected = z[f"target_{mode}_rank{rank}"]
    close(losses.transfer_target(x_s, x0, index, alpha, sigma), expected)
    exact = losses.transfer_target(x_s, x0, index, alpha, sigma, eps)
    close(exact, expected)
    own = index == torch.arange(8)
    assert torch.equal(exact[own], eps[own])


# ---- gradients


def leaf(*shape, seed=0):
    return random(*shape, seed=seed).requires_grad_()


LABELS = torch.tensor([0, 1, 0, 2, 1])
ALLOWED = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1], [0, 1, 0, 1, 1]]).bool()


@pytest.mark.parametrize(
    "function",
    [
        lambda h: losses.unsupervised_contrastive(h, 0.5),
        lambda h: losses.unsupervised_contrastive(h, 0.5, allowed=ALLOWED, factor=3.5),
        lambda h: losses.dispersive(h, 0.5),
        lambda h: losses.supervised_contrastive(h, LABELS, 0.5),
        lambda h: losses.supervised_contrastive(h, LABELS, 0.5, keep=LABELS != 1),
        lambda h: losses.overlap_permuted(h, LABELS, torch.tensor([3, 0, 4, 1, 2]), torch.arange(1, 6) / 5),
        lambda h: losses.transfer_weights(h, random(5, 6, seed=9), torch.full((5,), 2.0)),
    ],
    ids=["ucl", "ucl-restricted", "dispersive", "supcon", "supcon-kept", "overlap-permuted", "transfer"],
)
def test_gradients_on_one_input(function):
    assert gradcheck(function, leaf(5, 6))


@pytest.mark.parametrize("function", [losses.alignment, losses.overlap])
def test_gradients_of_pairs(function):
    assert gradcheck(function, (leaf(3, 2, 2), leaf(3, 2, 2, seed=1)))


def test_stopped_gradients_are_those_of_detached_copies():
    h, other = leaf(3, 2, 2), leaf(3, 2, 2, seed=1)
    gap = (h - other).detach() / 4  # of a mean over 4 elements
    first, second = gradients(losses.class_balancing(h, other).sum(), h, other)
    torch.testing.assert_close(first, 2 * gap)
    torch.testing.assert_close(second, -0.5 * gap)
    stopped = losses.alignment(h, other, stop_gradient=True)
    assert torch.equal(stopped, losses.alignment(h, other))
    torch.testing.assert_close(gradients(stopped.sum(), h)[0], 2 * gap)
    assert torch.autograd.grad(stopped.sum(), other, allow_unused=True) == (None,)


# ---- formulas


def test_restricted_and_scaled_negatives_are_the_formula():
    h = random(5, 6)
    z = h / h.norm(dim=1, keepdim=True)
    for i, value in enumerate(losses.unsupervised_contrastive(h, 0.5, allowed=ALLOWED, factor=3.5)):
        others = [j for j in range(5) if j != i and ALLOWED[i, j]]
        negatives = sum(((z[i] @ z[j] - 1) / 0.5).exp() for j in others)
        torch.testing.assert_close(value, (torch.ones(()).double() + 3.5 * negatives).log())
    assert losses.unsupervised_contrastive(h, allowed=ALLOWED)[2] == 0


def test_references_in_another_order_change_the_columns_only():
    x0, eps, sigma, labels = random(6, 3, 2), random(6, 3, 2, seed=1), random(6, seed=2).exp(), torch.arange(6) % 4
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    own = order.argsort()
    frequency, u = torch.tensor([9, 5, 5, 1]), torch.full((6,), 0.999)
    plain = losses.transfer_weights(x0, eps, sigma, prior=frequency[labels] ** 0.5)
    moved = losses.transfer_weights(x0, eps, sigma, x0[order], frequency[labels[order]] ** 0.5)
    torch.testing.assert_close(moved, plain[:, order])
    expected = losses.transfer_weights(x0, eps, sigma) * frequency[labels] ** 0.5
    torch.testing.assert_close(plain, expected / expected.sum(1, keepdim=True))
    index = losses.transfer_index(torch.eye(6)[[1] * 6][:, order], u, labels[order], frequency, "t2h", own)
    alpha = torch.full((6,), 0.5)
    targets = losses.transfer_target(x0, x0[order], index, alpha, sigma, eps, own)
    unmoved = losses.transfer_index(torch.eye(6)[[1] * 6], u, labels, frequency)
    assert torch.equal(order[index], unmoved)
    torch.testing.assert_close(targets, losses.transfer_target(x0, x0, unmoved, alpha, sigma, eps))


def test_references_are_drawn_by_their_weights():
    weights = torch.tensor([[0.0, 0.25, 0.75, 0.0]]).repeat(4000, 1)
    u = (torch.arange(4000) + 0.5) / 4000
    labels, own = torch.zeros(4, dtype=torch.long), torch.zeros(4000, dtype=torch.long)
    drawn = losses.transfer_index(weights, u, labels, torch.tensor([1]), "full", own)
    assert torch.bincount(drawn, minlength=4).tolist() == [0, 1000, 3000, 0]
    edges = losses.transfer_index(weights[:2], torch.tensor([0.0, 1.0]), labels, torch.tensor([1]), "full", own[:2])
    assert edges.tolist() == [1, 2]  # never what has no weight


def test_a_copy_without_noise_keeps_a_finite_target():
    x0, zero = torch.ones(2, 1, 2, 2), torch.zeros(2)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    target = losses.transfer_target(x0, x0, torch.tensor([1, 1]), zero + 1, zero, eps)
    assert torch.equal(target, eps)


def test_overlap_forms():
    h, other = random(4, 2, 3), random(4, 2, 3, seed=1)
    torch.testing.assert_close(losses.overlap(h, other), 1 / (1 + ((h - other) ** 2).mean((1, 2))))
    labels, permutation, w = torch.tensor([0, 1, 1, 0]), torch.tensor([3, 0, 1, 2]), random(4, seed=2).abs()
    gaps = [w[i] * ((h[i] - h[j]) ** 2).mean() * (labels[i] != labels[j]) for i, j in enumerate(permutation)]
    expected = 1 / (1 + torch.stack(gaps).mean())
    torch.testing.assert_close(losses.overlap_permuted(h, labels, permutation, w), expected)


def test_noise_weights():
    s = torch.tensor([0.0, 0.25, 1.0])
    assert losses.noise_weight(s, "noise", 2).tolist() == [0, 0.0625, 1]
    assert losses.noise_weight(s, "clean").tolist() == [1, 0.75, 0]
    assert losses.noise_weight(s, "none", 3).tolist() == [1, 1, 1]
