"""Every method as a term: views, random labels, sampled rows, and the formula through the whole objective."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff import build, losses
from taildiff.data.batches import Batch
from taildiff.diffusion.process import DDPM, Flow, noise
from taildiff.errors import SpecError
from taildiff.models.unet import UNet
from taildiff.objectives.denoising import Denoising
from taildiff.objectives.objective import Learner, Streams
from taildiff.objectives.views import GIVEN, Null, OtherClass, SampledLabel, inclusion, labels_of, rows_of, select
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    DiffROPSpec,
    DispersiveSpec,
    LabelDropSpec,
    ObjectiveSpec,
    RunSpec,
    TransferSpec,
    UCLSpec,
)
from taildiff.testing import check_term, small_network

COUNTS = (60, 30, 10)
PROCESSES = {"ddpm": DDPM(), "flow": Flow()}


def network(dtype=torch.float64, dropout=0.0):
    torch.manual_seed(0)
    return UNet((8, 8), 2, 3, (8, 16), 1, dropout=dropout, zero_init=False).to(dtype)


def a_batch(n=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, 2, 8, 8, dtype=dtype, generator=generator), torch.arange(n) % 3)


def setup(spec, process=PROCESSES["flow"], n=8, dtype=torch.float64, step=0):
    """Learner, batch, draws; the draws are those of training."""
    net = network(dtype)
    learner = Learner(net, build.objective(spec, process, COUNTS, net)).to(dtype)
    draws = learner.objective.draw(n, (2, 8, 8), Streams(0, step))
    return learner, a_batch(n, dtype), draws._replace(eps=draws.eps.to(dtype))


def by_hand(learner, batch, draws, process):
    """The noisy images, target, and a function label -> (prediction, middle features) by separate passes."""
    noised = noise(process, batch.x, draws.s, draws.eps)

    def ask(labels):
        out = learner.denoiser(noised.x_s, draws.s, labels, ["middle"])
        return out.prediction, out.features[0]

    return noised, ask


# ---- the contract of terms

BLOCKS = [
    {"ucl": {}},
    {"ucl": {"view": "given", "pool": True, "negatives": "other-class"}},
    {"ucl": {}, "null_fraction": 0.5},
    {"al": {}},
    {"al": {}, "null_fraction": 0.5},
    {"cbdm": {}},
    {"dispersive": {}},
    {"diffrop": {}},
    {"diffrop": {"form": "permuted"}},
    {"coral": {}},
    {"coral": {"scaling": "release"}},
]


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
def test_contract(blocks):
    network, (name, *_) = small_network(), blocks
    spec = ObjectiveSpec.model_validate(blocks | {name: blocks[name] | {"weight": 1}})
    check_term(build.term(spec.terms[name], spec, COUNTS, network), block=spec.terms[name])


def test_every_block_of_a_term_is_checked():
    assert {name for blocks in BLOCKS for name in list(blocks)[:1]} == {
        name for name, block in ObjectiveSpec() if hasattr(block, "compares_samples") and name != "custom"
    }


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_contract_of_denoising(power):
    check_term(Denoising(COUNTS, power))


# ---- sampled rows


@given(
    weights=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0]), min_size=2, max_size=12),
    m=st.integers(1, 12),
)
def test_inclusion_probabilities_are_proportional_and_add_up(weights, m):
    w = torch.tensor(weights, dtype=torch.float64)
    m = min(m, len(w))
    pi = inclusion(w, m)
    positive = int((w > 0).sum())
    assert pi.sum().item() == pytest.approx(min(m, positive))
    assert ((pi >= 0) & (pi <= 1)).all()
    free = (w > 0) & (pi < 1 - 1e-9)
    if free.any():
        ratio = pi[free] / w[free]
        assert (ratio.max() - ratio.min()).item() < 1e-9
        assert (w[~free & (w > 0)] >= w[free].max() - 1e-9).all()  # the certain ones are the heaviest


def all_draws(pi):
    """Every draw of rows with these inclusion probabilities: a u that leads to it, and how probable it is.

    Which points u, u + 1, … fall in a row's interval changes only where u passes the end of one.
    """
    edges = torch.cat([torch.tensor([0.0, 1.0]), pi.cumsum(0) % 1]).double().sort().values
    lengths = edges.diff()
    return [(edges[k] + lengths[k] / 2, lengths[k].item()) for k in range(len(lengths)) if lengths[k] > 1e-9]


@given(seed=st.integers(0, 10_000), fraction=st.sampled_from([0.2, 0.25, 0.5, 0.9]), kept=st.booleans())
def test_sampled_rows_are_unbiased_and_fixed_in_number(seed, fraction, kept):
    """The mean over all draws is exact."""
    generator = torch.Generator().manual_seed(seed)
    s, values = torch.rand(2, 12, generator=generator)
    dropped = torch.rand(12, generator=generator) < 0.3
    view = Null(fraction, kept_only=kept)
    weight = s.double() * ~dropped if kept and not dropped.all() else s.double()
    pi, total = inclusion(weight, rows_of(view, 12)), 0.0
    for u, probability in all_draws(pi):
        chosen = select(view, s, dropped, u)
        assert len(chosen.index) == rows_of(view, 12) == max(2, round(12 * fraction))
        assert len(set(chosen.index.tolist())) == len(chosen.index)
        total += (values[chosen.index] * chosen.scale).sum().item() * probability
    assert total == pytest.approx(values[pi > 0].sum().item(), rel=1e-5)
    assert torch.equal(pi > 0, weight > 0)


def test_too_few_rows_of_weight_are_filled_up_with_weight_0():
    dropped = torch.tensor([True, True, False, True])
    chosen = select(Null(0.75, kept_only=True), torch.full((4,), 0.5), dropped, torch.tensor(0.3))
    assert len(chosen.index) == 3
    assert chosen.scale[chosen.index == 2].tolist() == [1.0]
    assert chosen.scale.sum() == 1.0


# ---- cheap CCUA


def test_cheap_ccua_is_exact_at_1():
    full = ObjectiveSpec(ucl=UCLSpec(weight=1), al=ALSpec(weight=1))
    same = full.model_copy(update={"null_fraction": 1.0})
    a, batch, draws = setup(full)
    b, *_ = setup(same)
    assert torch.equal(a(batch, draws).total, b(batch, draws).total)


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_cheap_alignment_is_unbiased_in_value_and_gradient(fraction):
    full, batch, draws = setup(ObjectiveSpec(al=ALSpec(weight=1)))
    cheap, *_ = setup(ObjectiveSpec(al=ALSpec(weight=1), null_fraction=fraction))

    def alignment(learner, draws):
        learner.zero_grad()
        loss = learner(batch, draws)
        loss.total.backward()
        return loss.per_sample[1].mean(), torch.cat([p.grad.flatten() for p in learner.denoiser.parameters()])

    value, gradient = alignment(full, draws)
    pi = inclusion(draws.s.double() * ~draws.dropped, rows_of(Null(fraction), 8))
    every = [(alignment(cheap, draws._replace(uniforms=u.expand(8, 1))), share) for u, share in all_draws(pi)]
    assert torch.stack([v for (v, _), _ in every]).std() > 0.01 * value  # the rows do differ
    torch.testing.assert_close(sum(v * share for (v, _), share in every), value, rtol=1e-6, atol=0)
    mean_gradient = sum(g * share for (_, g), share in every)
    torch.testing.assert_close(mean_gradient, gradient, rtol=0, atol=1e-6 * gradient.abs().max().item())


def test_cheap_null_rows_are_few_and_stop_at_the_tap_without_alignment():
    rows = []
    for spec in (
        ObjectiveSpec(ucl=UCLSpec(weight=1), null_fraction=0.25),
        ObjectiveSpec(ucl=UCLSpec(weight=1), al=ALSpec(weight=1), null_fraction=0.25),
    ):
        learner, batch, draws = setup(spec)
        net = learner.denoiser.net
        hooks = [
            net.conv_in.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0]))),
            net.conv_out.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0]))),
        ]
        learner(batch, draws)
        for hook in hooks:
            hook.remove()
    assert rows == [10, 8, 10, 10]


@pytest.mark.parametrize("fraction", [0.5, 0.95])
@pytest.mark.parametrize("dropped", [0, 6, 32, 64])
def test_cheap_ucl_stands_for_rows_whose_label_was_dropped(fraction, dropped):
    """They were missing from the mean: .90 of the value with one label in ten dropped, 0 with all (`per_batch`)."""
    spec = ObjectiveSpec(ucl=UCLSpec(weight=1), al=ALSpec(weight=1))
    full, batch, draws = setup(spec, n=64, dtype=torch.float32)
    cheap, *_ = setup(spec.model_copy(update={"null_fraction": fraction}), dtype=torch.float32)

    def ucl_and_al(learner, factor, u):
        at = draws._replace(dropped=torch.arange(64) * factor % 64 < dropped, uniforms=torch.full((64, 1), u))
        return learner(batch, at).per_sample[1:].mean(1)

    # one pattern alone is up to .1 off with half of the labels dropped
    patterns = (5, 11, 29, 37) if 0 < dropped < 64 else (5,)
    with torch.no_grad():
        mean = torch.stack([ucl_and_al(cheap, f, (k + 0.5) / 8) for f in patterns for k in range(8)]).mean(0)
        ratio = mean / torch.stack([ucl_and_al(full, f, 0.0) for f in patterns]).mean(0)
    assert ratio[0].item() == pytest.approx(1, abs=0.05)
    assert mean[1] == 0 if dropped == 64 else ratio[1].item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("ucl", "al", "views"),
    [
        ({}, {}, 1),
        ({"noise_weight": "none"}, {"noise_weight": "none", "exponent": 2}, 1),  # the same law
        ({}, {"noise_weight": "clean"}, 2),
        ({"exponent": 2}, {}, 2),
        ({"view": "given"}, {"noise_weight": "clean"}, 1),
    ],
)
def test_cheap_rows_are_drawn_by_the_weight_of_each_term(ucl, al, views):
    spec = ObjectiveSpec(ucl=UCLSpec(weight=1, **ucl), al=ALSpec(weight=1, **al), null_fraction=0.5)
    terms = {name: build.term(block, spec, COUNTS, network()) for name, block in spec.terms.items()}
    found = {view for term in terms.values() for view in {need.view for need in term.needs} if isinstance(view, Null)}
    assert len(found) == views
    for name, term in terms.items():
        if isinstance(view := term.view, Null):
            block = spec.terms[name]
            assert view.noise_weight == block.noise_weight
            assert block.noise_weight == "none" or view.exponent == block.exponent
            assert view.kept_only == (name == "al" or views == 1)  # otherwise UCL can use every row
    learner, batch, draws = setup(spec)
    learner(batch, draws).total.backward()


# ---- labels


@given(y=st.integers(0, 4), u=st.floats(0, 1, exclude_max=True))
def test_the_other_class_is_another_and_every_one_can_come(y, u):
    labels = labels_of(OtherClass(), torch.tensor([y]), torch.tensor([False]), 5, torch.tensor([u]))
    assert labels.item() != y
    assert 0 <= labels.item() < 5


def test_drawn_labels_follow_their_law():
    u = (torch.arange(1000) + 0.5) / 1000
    y = torch.zeros(1000, dtype=torch.long)
    drawn = labels_of(SampledLabel((6.0, 3.0, 1.0)), y, y.bool(), 3, u)
    assert drawn.bincount().tolist() == [600, 300, 100]
    others = labels_of(OtherClass(), y, y.bool(), 3, u)
    assert others.bincount().tolist() == [0, 500, 500]


# ---- each method's formula through the fused forward, against separate passes


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("law", ["frequency", "uniform"])
def test_cbdm(process, law):
    learner, batch, draws = setup(ObjectiveSpec(cbdm=CBDMSpec(weight=1, law=law)), process)
    loss = learner(batch, draws)
    _, ask = by_hand(learner, batch, draws, process)
    y = torch.where(draws.dropped, 3, batch.y)
    shares = torch.tensor(COUNTS if law == "frequency" else (1, 1, 1)).double()
    other = (draws.uniforms[:, :1].double() * shares.sum() >= shares.cumsum(0)).sum(1)
    h, h2 = ask(y)[0], ask(other)[0]
    expected = draws.s.double() * 1.25 * (h - h2).square().mean((1, 2, 3)) * ~draws.dropped
    torch.testing.assert_close(loss.per_sample[1], expected, rtol=1e-9, atol=1e-12)
    assert (~draws.dropped).any()


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_transfer_targets_lead_to_the_same_noisy_image(process):
    learner, batch, draws = setup(ObjectiveSpec(transfer=TransferSpec(mode="full")), process)
    batch = Batch(batch.x * 0.01, batch.y)  # near images, so that others are drawn
    noised, ask = by_hand(learner, batch, draws, process)
    loss = learner(batch, draws)
    ratio = (noised.sigma / noised.alpha).flatten().clamp(min=1e-9)
    weights = losses.transfer_weights(batch.x, draws.eps, ratio)
    drawn = losses.transfer_index(weights, draws.uniforms[:, 0], batch.y, torch.tensor(COUNTS), "full")
    assert (drawn != torch.arange(8)).any()
    eps = (noised.x_s - noised.alpha * batch.x[drawn]) / noised.sigma
    target = eps if process.prediction == "eps" else eps - batch.x[drawn]
    h, _ = ask(torch.where(draws.dropped, 3, batch.y))
    torch.testing.assert_close(loss.per_sample[0], (h - target).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-9)


def test_transfer_keeps_the_truth_above_its_limit_and_towards_rarer_classes():
    plain, batch, draws = setup(ObjectiveSpec())
    batch = Batch(batch.x * 0.01, batch.y)
    truth = plain(batch, draws).per_sample[0]

    def values(**fields):
        learner, _, own_draws = setup(ObjectiveSpec(transfer=TransferSpec(**fields)))
        return learner(batch, own_draws).per_sample[0]

    assert torch.equal(values(mode="full", below=0.0), truth)
    part = values(mode="full", below=0.5)
    assert torch.equal(part[draws.s > 0.5], truth[draws.s > 0.5])
    assert not torch.equal(part, truth)
    to_head = values(mode="t2h") != truth
    to_tail = values(mode="h2t") != truth
    full = values(mode="full") != truth
    assert (to_head | to_tail).tolist() == full.tolist()
    assert not torch.equal(values(power=2.0), values(mode="full"))


@pytest.mark.parametrize("gather", [False, True])
def test_dispersive(gather):
    learner, batch, draws = setup(ObjectiveSpec(dispersive=DispersiveSpec(weight=0.25, temperature=0.5, gather=gather)))
    loss = learner(batch, draws)
    _, ask = by_hand(learner, batch, draws, PROCESSES["flow"])
    z = ask(torch.where(draws.dropped, 3, batch.y))[1].flatten(1)
    expected = (-torch.cdist(z, z).square() / (z.shape[1] * 0.5)).exp().mean().log()
    torch.testing.assert_close(loss.per_sample[1], expected.expand(8), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss.total, loss.per_sample[0].mean() + 0.25 * expected, rtol=1e-6, atol=0)


def test_diffrop_pairs():
    learner, batch, draws = setup(ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1)))
    loss = learner(batch, draws)
    _, ask = by_hand(learner, batch, draws, PROCESSES["flow"])
    other = (batch.y + 1 + (draws.uniforms[:, 0] * 2).long()) % 3
    d = (ask(torch.where(draws.dropped, 3, batch.y))[0] - ask(other)[0]).square().mean((1, 2, 3))
    expected = (1 - draws.s.double()) / (1 + d) * ~draws.dropped
    torch.testing.assert_close(loss.per_sample[1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("others", "joined"),
    [
        ({}, False),
        ({"al": ALSpec(weight=1)}, True),
        ({"ucl": UCLSpec(weight=1)}, True),
        ({"ucl": UCLSpec(weight=1, view="given")}, False),  # no pass without labels
        ({"ucl": UCLSpec(weight=1), "null_fraction": 0.5}, False),
    ],
    ids=str,
)
def test_diffrop_of_the_ccua_release(others, joined):
    """Pairs are masked by their true labels, of dropped and null rows too; with UCL or AL the null rows take part."""
    learner, batch, draws = setup(ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1, form="permuted"), **others))
    draws = draws._replace(dropped=torch.arange(8) % 3 == 0)
    values = learner(batch, draws).per_sample[learner.objective.names.index("diffrop")]
    _, ask = by_hand(learner, batch, draws, PROCESSES["flow"])
    keys = {purpose: draws.uniforms[:, k] for k, purpose in enumerate(learner.objective.purposes)}
    given, null = (ask(y)[0] for y in (torch.where(draws.dropped, 3, batch.y), torch.full_like(batch.y, 3)))
    out = torch.cat([given, null]) if joined else given
    pi = torch.cat([keys["permutation"], keys["permutation, null rows"]])[: len(out)].argsort()
    y, s = batch.y.repeat(2)[: len(out)], draws.s.double().repeat(2)[: len(out)]
    d = sum((1 - s[i]) * (out[i] - out[j]).square().mean() for i, j in enumerate(pi) if y[i] != y[j]) / len(out)
    torch.testing.assert_close(values, (1 / (1 + d)).expand(8), rtol=1e-9, atol=0)


def test_permuted_diffrop_of_one_class_repels_nothing():
    """Neither a dropped label nor the pass without labels makes another class."""
    for others in ({}, {"ucl": UCLSpec(weight=1)}, {"al": ALSpec(weight=1)}):
        learner, batch, draws = setup(ObjectiveSpec(diffrop=DiffROPSpec(weight=1, form="permuted"), **others))
        draws = draws._replace(dropped=torch.arange(8) % 2 == 0)
        loss = learner(Batch(batch.x, torch.ones(8, dtype=torch.long)), draws)
        assert loss.per_sample[learner.objective.names.index("diffrop")].tolist() == [1.0] * 8


@pytest.mark.parametrize("scaling", ["paper", "release"])
def test_coral(scaling):
    learner, batch, draws = setup(ObjectiveSpec(coral=CORALSpec(weight=0.5, scaling=scaling)))
    loss = learner(batch, draws)
    head = learner.objective.terms[1].head
    assert head.weight.shape == (128, 16)
    assert not any("head" in name for name in learner.denoiser.state_dict())
    _, ask = by_hand(learner, batch, draws, PROCESSES["flow"])
    z = torch.nn.functional.normalize(head(ask(torch.where(draws.dropped, 3, batch.y))[1].mean((2, 3))))
    kept = [i for i in range(8) if not draws.dropped[i]]
    terms = {}
    for i in kept:
        others = [j for j in kept if j != i]
        positives = [j for j in others if batch.y[j] == batch.y[i]]
        if positives:
            logits = torch.stack([z[i] @ z[j] / 0.1 for j in others])
            terms[i] = torch.stack([logits.logsumexp(0) - z[i] @ z[j] / 0.1 for j in positives]).mean()
    weight = ((1 - draws.s) / 0.3).exp().double()
    if scaling == "paper":
        expected = sum(weight[i] * value for i, value in terms.items()) / len(terms)
    else:
        expected = 0.1 * weight.mean() * sum(terms.values()) / len(terms)
    torch.testing.assert_close(loss.per_sample[1].mean(), expected.detach(), rtol=1e-6, atol=0)


def test_inverse_frequency_weights():
    plain, batch, draws = setup(ObjectiveSpec())
    weighted, *_ = setup(ObjectiveSpec(class_power=1.0))
    ratio = (weighted(batch, draws).per_sample[0] / plain(batch, draws).per_sample[0]).float()
    inverse = torch.tensor([1 / n for n in COUNTS])
    torch.testing.assert_close(ratio, (inverse / inverse.mean())[batch.y], rtol=1e-5, atol=0)


def test_options_of_ucl():
    def values(**fields):
        learner, batch, draws = setup(ObjectiveSpec(ucl=UCLSpec(weight=1, noise_weight="none", **fields)))
        _, ask = by_hand(learner, batch, draws, PROCESSES["flow"])
        return learner(batch, draws).per_sample[1], batch, draws, ask

    ours, batch, draws, ask = values()
    features = ask(torch.full_like(batch.y, 3))[1]
    torch.testing.assert_close(ours, losses.unsupervised_contrastive(features), rtol=1e-6, atol=0)
    ours, *_ = values(view="given")
    given_features = ask(torch.where(draws.dropped, 3, batch.y))[1]
    torch.testing.assert_close(ours, losses.unsupervised_contrastive(given_features), rtol=1e-6, atol=0)
    ours, *_ = values(pool=True)
    torch.testing.assert_close(ours, losses.unsupervised_contrastive(features.mean((2, 3))), rtol=1e-6, atol=0)

    z = torch.nn.functional.normalize(features.flatten(1))
    pushes = ((z @ z.T - 1) / 0.1).exp() * ~torch.eye(8, dtype=torch.bool)
    same = batch.y[:, None] == batch.y
    near = (draws.s[:, None] - draws.s).abs() <= 0.2
    for fields, mask in [
        ({"negatives": "other-class"}, ~same),
        ({"negatives": "same-class"}, same),
        ({"noise_window": 0.2}, near),
        ({"negatives": "other-class", "noise_window": 0.2}, ~same & near),
    ]:
        ours, *_ = values(**fields)
        torch.testing.assert_close(ours, (1 + (pushes * mask).sum(1)).log(), rtol=1e-6, atol=1e-9)


def test_stop_gradient_leaves_the_value_and_frees_the_null_row():
    free, batch, draws = setup(ObjectiveSpec(al=ALSpec(weight=1), drop=LabelDropSpec(p=0)))
    stopped, *_ = setup(ObjectiveSpec(al=ALSpec(weight=1, stop_gradient=True), drop=LabelDropSpec(p=0)))
    a, b = free(batch, draws), stopped(batch, draws)
    assert torch.equal(a.per_sample, b.per_sample)
    for learner, loss in ((free, a), (stopped, b)):
        loss.total.backward()
        touched = learner.denoiser.net.class_embedding.weight.grad[3].abs().sum() > 0
        assert touched.item() == (learner is free)


# ---- together


EVERYTHING = ObjectiveSpec(
    class_power=0.5,
    null_fraction=0.5,
    transfer=TransferSpec(mode="t2h"),
    ucl=UCLSpec(weight=0.1),
    al=ALSpec(weight=0.2),
    cbdm=CBDMSpec(weight=0.3),
    dispersive=DispersiveSpec(weight=0.4),
    diffrop=DiffROPSpec(weight=0.5, form="permuted"),
    coral=CORALSpec(weight=0.6),
)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_all_methods_together_share_one_forward(process):
    learner, batch, draws = setup(EVERYTHING, process, dtype=torch.float32)
    calls = []
    learner.denoiser.register_forward_hook(lambda *_: calls.append(1))
    loss = learner(batch, draws)
    loss.total.backward()
    assert len(calls) == 1
    assert learner.objective.names == ("denoising", "ucl", "al", "cbdm", "dispersive", "diffrop", "coral")
    weights = torch.tensor(learner.objective.weights)
    torch.testing.assert_close(loss.total, (weights * loss.per_sample.mean(1)).sum())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())


def test_a_method_does_not_shift_the_numbers_of_another():
    alone = setup(ObjectiveSpec(cbdm=CBDMSpec(weight=1)))
    together = setup(EVERYTHING)
    place = together[0].objective.purposes.index("auxiliary label")
    assert torch.equal(alone[2].uniforms[:, 0], together[2].uniforms[:, place])
    assert torch.equal(alone[2].s, together[2].s)


def test_blocks_of_weight_0_leave_no_trace():
    learner, _, draws = setup(ObjectiveSpec(coral=CORALSpec(weight=0, tap="no such tap"), null_fraction=0.3))
    assert learner.objective.names == ("denoising",)
    assert learner.objective.views == (GIVEN,)
    assert draws.uniforms.shape == (8, 0)
    assert {name.split(".")[0] for name in learner.state_dict()} == {"denoiser"}


def test_bad_combinations_are_explained():
    for block in ({"ucl": {"weight": 1}}, {"diffrop": {"weight": 1, "form": "permuted"}}, {"coral": {"weight": 1}}):
        with pytest.raises(ValueError, match="batch_size must be at least 2"):
            RunSpec.model_validate({"batch_size": 1, "objective": block})
    assert RunSpec.model_validate({"batch_size": 1, "objective": {"al": {"weight": 1}}}).batch_size == 1
    with pytest.raises(SpecError, match="did you mean 'middle'"):
        setup(ObjectiveSpec(coral=CORALSpec(weight=1, tap="mid")))
    with pytest.raises(ValueError, match="resample and resample_power exclude each other"):
        RunSpec.model_validate({"data": {"resample": 0.1, "resample_power": 0.5}})


def test_rows_are_chosen_without_reading_a_value():
    """On the meta device that raises; on a GPU the process would wait for all that was given to it."""
    s, u = torch.empty(12, device="meta"), torch.empty((), device="meta")
    chosen = select(Null(0.25, kept_only=True), s, s.bool(), u)
    assert chosen.index.shape == chosen.scale.shape == (3,)
