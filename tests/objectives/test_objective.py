"""Views, draws and the fused step: equal to the release's numbers and to plain training where it must be."""

import numpy as np
import pytest
import torch

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.diffusion.process import DDPM, Flow, noise
from taildiff.diffusion.random_tensors import RandomTensors
from taildiff.errors import SpecError
from taildiff.losses.contrastive import unsupervised_contrastive
from taildiff.losses.noise_weight import noise_weight
from taildiff.models.denoiser import Denoiser, Output
from taildiff.models.unet import UNet
from taildiff.objectives.objective import Draws, LabelDrop, Learner, Streams
from taildiff.spec import ALSpec, ObjectiveSpec, UCLSpec, UNetSpec

COUNTS = (60, 30, 10)


def objective_of(spec, process):
    return build.objective(spec, process, COUNTS, network())


CCUA = ObjectiveSpec(ucl=UCLSpec(weight=1.0), al=ALSpec(weight=1.0))
UCL_ONLY = ObjectiveSpec(ucl=UCLSpec(weight=1.0))
AL_ONLY = ObjectiveSpec(al=ALSpec(weight=1.0))


class Canned(Denoiser):
    """Answers with given tensors: conditional rows first, null rows second, as the fused forward asks."""

    classes, tap_names = 10, ("middle",)

    def __init__(self, conditional, null, features):
        super().__init__()
        self.conditional, self.null, self.features = conditional, null, features

    def width(self, tap):
        raise NotImplementedError

    def forward(self, x_s, s, y, taps=(), full=None):
        n = len(self.conditional)
        assert (y[n:] == self.null_label).all()
        assert torch.equal(x_s[:n], x_s[n:])
        return Output(
            torch.cat([self.conditional, self.null])[:full], (torch.cat([self.features] * 2),) if taps else ()
        )


def batch_and_draws(n=6, channels=2, size=8, drop=0.3, dtype=torch.float64, seed=0, uniforms=0):
    generator = torch.Generator().manual_seed(seed)
    batch = Batch(torch.randn(n, channels, size, size, dtype=dtype, generator=generator), torch.arange(n) % 3)
    s, coins = torch.rand(2, n, generator=generator)
    eps = torch.randn(batch.x.shape, dtype=dtype, generator=generator)
    return batch, Draws(s, eps, coins < drop, torch.rand(n, uniforms, generator=generator))


def network(dtype=torch.float64, dropout=0.0):
    torch.manual_seed(0)
    return UNet((8, 8), 2, 3, (8, 16), 1, dropout=dropout, zero_init=False).to(dtype)


def test_a_step_equals_the_release_in_value_and_gradient(golden):
    z = golden("ccua_step")
    leaves = [torch.from_numpy(z[k]).requires_grad_() for k in ("eps_cond", "eps_uncond", "features_uncond")]
    n = len(leaves[0])
    batch = Batch(torch.from_numpy(z["x0"]), torch.from_numpy(z["y"]))
    s = torch.from_numpy(z["t"]).double() / int(z["T"])
    draws = Draws(s, torch.from_numpy(z["noise"]), torch.zeros(n, dtype=torch.bool), torch.empty(n, 0))
    objective = objective_of(CCUA, DDPM())
    loss = objective(Canned(*leaves), batch, draws)
    for name, values in zip(objective.names, loss.per_sample, strict=True):
        expected = z[{"denoising": "loss_ddpm", "ucl": "loss_ucl", "al": "loss_al"}[name]]
        np.testing.assert_allclose(values.mean(), expected, rtol=1e-6, err_msg=name)
    loss.total.backward()
    ddpm = 2 * (leaves[0] - draws.eps).detach() / leaves[0].numel()
    close(leaves[0].grad - ddpm, z["grad_al_eps_cond"])
    close(leaves[1].grad, z["grad_al_eps_uncond"])
    close(leaves[2].grad, z["grad_ucl_features"])


def close(ours, expected):
    np.testing.assert_allclose(ours.detach(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_ucl_equals_the_release(golden):
    z = golden("ucl")
    features = torch.from_numpy(z["features"]).requires_grad_()
    values = unsupervised_contrastive(features, float(z["temperature"]))
    close(values, z["per_sample"])
    mean = (noise_weight(torch.from_numpy(z["t"]) / int(z["T"])) * values).mean()
    close(mean, z["weighted_mean"])
    (gradient,) = torch.autograd.grad(mean, features)
    close(gradient, z["grad"])


def test_released_transformer_weights_are_ours_called_clean(golden):
    z = golden("ccua_sit")
    tokens = torch.from_numpy(z["tokens"]).requires_grad_()
    s = 1 - torch.from_numpy(z["t_data_fraction"])
    conditional, null = torch.from_numpy(z["v_cond"]), torch.from_numpy(z["v_uncond"])
    spec = ObjectiveSpec(ucl=UCLSpec(weight=1, noise_weight="clean"), al=ALSpec(weight=1, noise_weight="clean"))
    objective = objective_of(spec, Flow())
    batch = Batch(torch.zeros_like(conditional), torch.zeros(8, dtype=torch.long))
    draws = Draws(s, torch.zeros_like(conditional), torch.zeros(8, dtype=torch.bool), torch.empty(8, 0))
    loss = objective(Canned(conditional, null, tokens), batch, draws)
    _, ucl, al = loss.per_sample.mean(1)
    close(ucl, z["loss_ucl"])
    close(al, z["loss_al"])
    (gradient,) = torch.autograd.grad(loss.total, tokens)
    close(gradient, z["grad_ucl_tokens"])


@pytest.mark.parametrize("spec", [CCUA, UCL_ONLY, AL_ONLY, ObjectiveSpec()])
@pytest.mark.parametrize("process", [DDPM(), Flow()])
def test_the_fused_forward_equals_separate_passes(spec, process):
    net, (batch, draws) = network(), batch_and_draws()
    learner = Learner(net, objective_of(spec, process))
    loss = learner(batch, draws)
    loss.total.backward()
    fused = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()

    noised = noise(process, batch.x, draws.s, draws.eps)
    given = net(noised.x_s, draws.s, torch.where(draws.dropped, 3, batch.y))
    null = net(noised.x_s, draws.s, torch.full_like(batch.y, 3), ["middle"])
    target = draws.eps if isinstance(process, DDPM) else draws.eps - batch.x
    total = (given.prediction - target).square().mean()
    if spec.ucl.weight:
        z = torch.nn.functional.normalize(null.features[0].flatten(1))
        cross_entropy = torch.nn.functional.cross_entropy(z @ z.T / 0.1, torch.arange(6), reduction="none")
        total = total + (draws.s * cross_entropy).mean()
    if spec.al.weight:
        gap = (given.prediction - null.prediction).square().mean((1, 2, 3))
        total = total + (draws.s * gap * ~draws.dropped).mean()
    total.backward()
    torch.testing.assert_close(loss.total, total, rtol=1e-10, atol=0)
    for ours, p in zip(fused, net.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad, rtol=1e-8, atol=1e-12)


def test_features_alone_do_not_run_the_decoder_twice():
    net, (batch, draws) = network(), batch_and_draws()
    rows = []
    net.net.conv_out.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    Learner(net, objective_of(UCL_ONLY, Flow()))(batch, draws)
    Learner(net, objective_of(CCUA, Flow()))(batch, draws)
    assert rows == [6, 12]


def test_weight_zero_is_plain_bit_for_bit():
    plain = objective_of(ObjectiveSpec(), Flow())
    zero = objective_of(ObjectiveSpec(ucl=UCLSpec(weight=0, temperature=0.5), al=ALSpec(weight=0)), Flow())
    gradients = []
    for objective in (plain, zero):
        net = network(torch.float32, dropout=0.1)
        batch = Batch(torch.ones(4, 2, 8, 8), torch.tensor([0, 1, 2, 0]))
        draws = objective.draw(4, (2, 8, 8), Streams(0, 3))
        torch.manual_seed(5)
        Learner(net, objective)(batch, draws).total.backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_dropped_labels_contribute_nothing_to_alignment():
    net, (batch, draws) = network(dropout=0.5), batch_and_draws()
    draws = draws._replace(dropped=torch.tensor([True, False, True, False, False, True]))
    loss = Learner(net, objective_of(AL_ONLY, Flow()))(batch, draws)
    assert (loss.per_sample[1] == 0).tolist() == draws.dropped.tolist()


def test_draws_depend_on_seed_and_step_only():
    plain, ccua = objective_of(ObjectiveSpec(), Flow()), objective_of(CCUA, Flow())
    a = plain.draw(8, (1, 4, 4), Streams(1, 7))
    b = ccua.draw(8, (1, 4, 4), Streams(1, 7))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    other = plain.draw(8, (1, 4, 4), Streams(1, 8))
    assert not torch.equal(a.eps, other.eps)
    assert not torch.equal(a.s, other.s)
    part = a.rows(slice(2, 5))
    assert torch.equal(part.s, a.s[2:5])
    assert part.eps.shape == (3, 1, 4, 4)


def test_label_drop_policies():
    def rate(policy):
        return [policy.draw(16, RandomTensors(i, "drop")) for i in range(400)]

    per_sample = torch.stack(rate(LabelDrop(0.1)))
    assert per_sample.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert 0 < per_sample.float().mean(1).min() + 0.5 < per_sample.float().mean(1).max() + 0.5
    per_batch = torch.stack(rate(LabelDrop(0.1, per_batch=True)))
    assert ((per_batch.sum(1) == 0) | (per_batch.sum(1) == 16)).all()
    assert per_batch.float().mean().item() == pytest.approx(0.1, abs=0.05)
    assert not LabelDrop(0.0).draw(1000, RandomTensors(0, "drop")).any()


def test_repulsion_survives_half_precision_and_flat_features():
    huge = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)).mul(1e4).to(torch.bfloat16).requires_grad_()
    values = unsupervised_contrastive(huge)
    values.sum().backward()
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert huge.grad.isfinite().all()
    same = torch.ones(4, 8, dtype=torch.float64)
    torch.testing.assert_close(unsupervised_contrastive(same), torch.full((4,), np.log(4.0), dtype=torch.float64))
    with pytest.raises(ValueError, match="at least 2"):
        unsupervised_contrastive(torch.ones(1, 8))


def test_repulsion_has_the_gradient_of_its_formula():
    features = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: unsupervised_contrastive(f, 0.2), features)


def test_noise_weights():
    s = torch.tensor([0.0, 0.25, 1.0])
    assert noise_weight(s).tolist() == [0, 0.25, 1]
    assert noise_weight(s, "clean", 2).tolist() == [1, 0.5625, 0]
    assert noise_weight(s, "none").tolist() == [1, 1, 1]
    with pytest.raises(SpecError, match="did you mean 'noise'"):
        noise_weight(s, "nois")


def test_a_tap_that_does_not_exist_is_named():
    objective = objective_of(ObjectiveSpec(ucl=UCLSpec(weight=1, tap="midle")), Flow())
    with pytest.raises(SpecError, match="did you mean 'middle'"):
        Learner(network(), objective)


def test_specs_build_what_they_name():
    assert UNetSpec().channels == (16, 32, 64)
    assert objective_of(CCUA, Flow()).names == ("denoising", "ucl", "al")
    assert objective_of(UCL_ONLY, Flow()).taps == ("middle",)
