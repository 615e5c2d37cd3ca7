"""Shared null rows: label dropout of probability p and full alignment in expectation, on m more rows than plain."""

from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.diffusion.process import DDPM, Flow
from taildiff.errors import SpecError
from taildiff.models.unet import UNet
from taildiff.objectives.denoising import Denoising
from taildiff.objectives.objective import Learner, StepLoss, Streams
from taildiff.objectives.views import Null, rows_of, select
from taildiff.recipes import recipe, with_method
from taildiff.spec import (
    ALSpec,
    DataFacts,
    ObjectiveSpec,
    SiTSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
    parse,
)
from taildiff.testing import check_term

COUNTS = (60, 30, 10)
AL, UCL = ALSpec(weight=0.7), UCLSpec(weight=1)
FULL = ObjectiveSpec(al=AL, drop={"p": 0.3})


def network(kind="unet"):
    torch.manual_seed(0)
    if kind == "unet":
        return UNet((8, 8), 2, 3, (8, 16), 1, zero_init=False).double()
    facts = DataFacts(height=8, width=8, channels=2, class_names=("a", "b", "c"), counts=COUNTS)
    sit = build.denoiser(SiTSpec(depth=2, width=24, heads=3, patch=4), facts).double()
    for p in filter(lambda p: p.requires_grad, sit.parameters()):  # the last layer starts at 0
        torch.nn.init.normal_(p, std=0.2)
    return sit


def setup(spec, kind="unet", process=None, n=5, step=0):
    """Learner, batch, and the draws of training in float64."""
    net = network(kind)
    learner = Learner(net, build.objective(spec, process or Flow(), COUNTS, net)).double()
    x = torch.randn(n, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    draws = learner.objective.draw(n, (2, 8, 8), Streams(0, step))
    return learner, Batch(x / 8, torch.arange(n) % 3), draws._replace(s=draws.s.double(), eps=draws.eps.double())


def shared(spec, fraction, **fields):
    return parse(ObjectiveSpec, spec.model_dump() | {"shared_null": fraction} | fields)


def value_and_gradient(learner, batch, draws):
    learner.zero_grad()
    total = learner(batch, draws).total
    total.backward()
    return torch.cat([total.detach().reshape(1), *(p.grad.flatten() for p in learner.parameters() if p.requires_grad)])


@cache
def by_dropout(spec, *arguments):
    """The mean of a full objective over all 2^5 choices of dropped labels."""
    learner, batch, draws = setup(spec, *arguments)
    mean = 0.0
    for mask in product([False, True], repeat=len(batch.y)):
        dropped, p = torch.tensor(mask), spec.drop.p
        probability = p ** dropped.sum().item() * (1 - p) ** (~dropped).sum().item()
        mean += probability * value_and_gradient(learner, batch, draws._replace(dropped=dropped))
    return mean


def every_draw(view, s):
    """(u, probability) of each set of rows that can be drawn: it changes where u passes the end of an interval."""
    m, v = rows_of(view, len(s)), view.uniform_share / len(s) + (1 - view.uniform_share) * s / s.sum()
    c = torch.tensor(0.0, dtype=s.dtype)
    for _ in range(len(s)):  # min(1, c v) has the sum m
        certain = c * v >= 1
        c = (m - certain.sum()) / v[~certain].sum()
    ends = (c * v).clamp(max=1).cumsum(0)
    edges = torch.cat([torch.tensor([0.0, 1.0]).double(), ends % 1]).sort().values
    return [(edges[k] + length / 2, length.item()) for k, length in enumerate(edges.diff()) if length > 1e-9]


def by_shared_rows(spec, *arguments):
    """The mean over all draws of rows, and how much its values differ."""
    learner, batch, draws = setup(spec, *arguments)
    view = next(view for view in learner.objective.views if isinstance(view, Null))
    found = [
        (share, value_and_gradient(learner, batch, draws._replace(uniforms=u.expand(len(batch.y), 1))))
        for u, share in every_draw(view, draws.s)
    ]
    return sum(share * value for share, value in found), torch.stack([value[0] for _, value in found]).std()


@pytest.mark.parametrize("kind", ["unet", "sit"])
@pytest.mark.parametrize("uniform", [0.5, 1.0])
@pytest.mark.parametrize("fraction", [0.4, 0.7])
def test_the_mean_over_draws_is_that_over_dropped_labels(fraction, uniform, kind):
    expected = by_dropout(FULL, kind)
    mean, spread = by_shared_rows(shared(FULL, fraction, shared_uniform=uniform), kind)
    assert spread > 0.001 * expected[0]  # the rows do differ
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6 * expected[1:].abs().max().item())


@pytest.mark.parametrize(
    "spec",
    [
        ObjectiveSpec(drop={"p": 0.2}),
        ObjectiveSpec(class_power=0.5, transfer=TransferSpec(mode="full")),
        ObjectiveSpec(al=ALSpec(weight=1, noise_weight="clean", exponent=2)),
    ],
    ids=["denoising", "weights and targets", "weight of alignment"],
)
def test_the_mean_is_that_of_dropout_with_other_settings(spec):
    """At f = 1 without a draw, so for any law."""
    learner, batch, draws = setup(shared(spec, 1.0), "unet", DDPM())
    found = value_and_gradient(learner, batch, draws)
    expected = by_dropout(spec, "unet", DDPM())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * expected[1:].abs().max().item())


def test_the_draws_of_training_have_that_mean():
    learner, batch, draws = setup(shared(FULL, 0.4))
    expected = by_dropout(FULL, "unet")[0]
    with torch.no_grad():
        losses = torch.stack(
            [
                learner(
                    batch, draws._replace(uniforms=learner.objective.draw(5, (2, 8, 8), Streams(0, k)).uniforms)
                ).total
                for k in range(120)
            ]
        )
    assert (losses.mean() - expected).abs() < 4 * losses.std() / 120**0.5
    assert losses.std() < 0.5 * expected


@given(
    s=st.lists(st.sampled_from([0.0, 0.001, 0.3, 0.9, 1.0]), min_size=4, max_size=32),
    fraction=st.sampled_from([0.1, 0.25, 0.6]),
    uniform=st.sampled_from([0.1, 0.5, 1.0]),
    u=st.floats(0, 1, exclude_max=True),
)
def test_no_row_stands_for_more_than_the_mixture_allows(s, fraction, uniform, u):
    levels, view = torch.tensor(s), Null(fraction, uniform_share=uniform)
    chosen = select(view, levels, torch.zeros(len(s), dtype=torch.bool), torch.tensor(u, dtype=torch.float64))
    m = rows_of(view, len(s))
    assert len(chosen.index) == m
    assert (chosen.scale > 0).all()
    assert chosen.scale.max() <= len(s) / (uniform * m) + 1e-4


def test_rows_are_few_and_no_label_is_dropped():
    for spec, full, tap in (
        (ObjectiveSpec(), 6, 0),
        (ObjectiveSpec(al=AL, ucl=UCL), 6, 0),
        (ObjectiveSpec(ucl=UCL), 6, 0),
    ):
        objective = setup(shared(spec, 0.1), n=64)[0].objective
        sizes = [rows_of(view, 64) for view in objective.views]
        assert sizes == [64, full]
        assert (sum(sizes[objective.predicted :]), objective.predicted) == (tap, 2)
        assert not objective.draw(512, (2, 8, 8), Streams(0, 0)).dropped.any()
    untrained = setup(shared(ObjectiveSpec(ucl=UCL, drop={"p": 0}), 0.1))[0].objective  # features alone stop at the tap
    assert (len(untrained.views), untrained.predicted) == (2, 1)


def test_terms_share_the_rows_whatever_their_weights():
    spec = ObjectiveSpec(al=ALSpec(weight=1, noise_weight="clean"), ucl=UCLSpec(weight=1, exponent=2))
    learner, *_ = setup(shared(spec, 0.5))
    (view,) = (view for view in learner.objective.views if isinstance(view, Null))
    assert view == Null(0.5, "clean", uniform_share=0.5)
    assert {need.view for term in learner.objective.terms for need in term.needs if need.view in (view,)} == {view}
    alone, *_ = setup(shared(ObjectiveSpec(), 0.5))
    assert alone.objective.views[1].uniform_share == 1


def test_repulsion_is_that_of_all_rows_at_1():
    full, batch, draws = setup(ObjectiveSpec(ucl=UCL))
    same = setup(shared(ObjectiveSpec(ucl=UCL), 1.0))[0]
    place = full.objective.names.index("ucl")
    assert torch.equal(same(batch, draws).per_sample[place], full(batch, draws).per_sample[place])


@pytest.mark.parametrize("uniform", [0.5, 1.0])
@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_bias_of_repulsion(fraction, uniform):
    """A batch of 64 on a fresh network: the mean over draws is .90 to .97 of the value of all rows."""
    full, batch, draws = setup(ObjectiveSpec(ucl=UCL), n=64)
    learner = setup(shared(ObjectiveSpec(ucl=UCL), fraction, shared_uniform=uniform), n=64)[0]
    with torch.no_grad():
        exact = full(batch, draws).per_sample[1].mean()
        means = [
            learner(batch, draws._replace(uniforms=torch.full((64, 1), (k + 0.5) / 16))).per_sample[1].mean()
            for k in range(16)
        ]
    assert (torch.stack(means).mean() / exact).item() == pytest.approx(0.935, abs=0.05)


def test_values_are_logged_per_sample_and_their_mean_is_the_loss():
    learner, batch, draws = setup(shared(ObjectiveSpec(al=AL, ucl=UCL), 0.34))
    loss: StepLoss = learner(batch, draws)
    assert loss.per_sample.shape == (3, 5)
    weights = torch.tensor(learner.objective.weights, dtype=torch.float64)
    torch.testing.assert_close(loss.total.detach(), (weights * loss.per_sample.mean(1)).sum())
    assert (loss.per_sample[0] > 0).all()  # every row under its label
    assert (loss.per_sample[1:] != 0).sum(1).tolist() == [2, 2]


@pytest.mark.parametrize("null", [Null(0.5, uniform_share=0.5), Null(0.25, uniform_share=1.0)])
def test_contract_of_denoising(null):
    check_term(Denoising(COUNTS, 1.0, null, 0.1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shared_null": 0}, "shared_null: .*greater than 0"),
        ({"shared_null": 1.01}, "shared_null: .*less than or equal to 1"),
        ({"shared_null": 0.1, "shared_uniform": 0}, "shared_uniform: .*greater than 0"),
        ({"shared_null": 0.1, "null_fraction": 0.5}, "shared_null and null_fraction exclude each other"),
        ({"shared_null": 0.1, "drop": {"policy": "per_batch"}}, "remove drop.policy per_batch"),
        ({"shared_null": 0.1, "cbdm": {"weight": 1}}, "cannot be combined with cbdm: set weight 0"),
        (
            {"shared_null": 0.1, "diffrop": {"weight": 1, "form": "permuted"}},
            "cannot be combined with diffrop",
        ),
    ],
)
def test_wrong_combinations_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        parse(ObjectiveSpec, fields)


def test_the_null_label_counts_as_trained():
    assert with_method(recipe("mnist5k-plain"), "ccua-shared").objective.trains_null
    assert ObjectiveSpec(shared_null=0.1).trains_null
    assert not ObjectiveSpec(shared_null=0.1, drop={"p": 0}).trains_null
    learner, batch, draws = setup(ObjectiveSpec(shared_null=0.34))
    learner(batch, draws).total.backward()
    assert learner.denoiser.net.class_embedding.weight.grad[3].abs().sum() > 0


@pytest.mark.parametrize("model", [UNetSpec(channels=(8, 16)), SiTSpec(depth=2, width=24, heads=3, patch=7)])
def test_the_method_fits_every_network(model):
    spec = recipe("mnist5k-plain").model_copy(update={"model": model})
    spec = with_method(spec, "ccua-shared")
    facts = DataFacts(height=28, width=28, channels=1, class_names=("a", "b", "c"), counts=COUNTS)
    learner = build.learner(spec, facts, COUNTS)
    draws = learner.objective.draw(12, facts.shape, Streams(0, 0))
    learner(Batch(torch.randn(12, *facts.shape), torch.arange(12) % 3), draws).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters() if p.requires_grad)
