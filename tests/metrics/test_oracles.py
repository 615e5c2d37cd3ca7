"""Our metrics equal torchmetrics' and prdc's: on saved numbers always, on fresh ones where the two are installed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taildiff.metrics import density_coverage, frechet_distance, inception_score, kernel_distance, precision_recall

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "oracles.npz")
seeds = st.integers(0, 2**31)


class Identity(torch.nn.Module):
    num_features = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_saved_numbers_of_torchmetrics():
    real, fake = GOLDEN["real"], GOLDEN["fake"]
    assert frechet_distance(real, fake) == pytest.approx(GOLDEN["frechet"], rel=1e-8)
    assert kernel_distance(real[:150], fake) == pytest.approx(GOLDEN["kid_first_150"], rel=1e-8)
    probabilities = torch.from_numpy(GOLDEN["logits"]).softmax(dim=1)
    assert float(inception_score(probabilities, splits=1)) == pytest.approx(GOLDEN["inception_score"], rel=1e-8)


@pytest.mark.parametrize("k", [3, 5])
def test_saved_numbers_of_prdc(k: int):
    real, fake = GOLDEN["real"], GOLDEN["fake"]
    result, spread = precision_recall(real, fake, k), density_coverage(real, fake, k)
    assert (result.precision, result.recall) == (GOLDEN[f"precision{k}"], GOLDEN[f"recall{k}"])
    assert spread.density == pytest.approx(GOLDEN[f"density{k}"], rel=1e-12)
    assert spread.coverage == GOLDEN[f"coverage{k}"]


@settings(max_examples=20)
@given(seeds, st.integers(10, 80), st.integers(10, 80), st.integers(1, 6))
def test_fresh_numbers_of_prdc(seed, n, m, k):
    prdc = pytest.importorskip("prdc")
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n, 8)), 0.8 * rng.normal(size=(m, 8))
    expected = prdc.compute_prdc(real, fake, nearest_k=k)
    result, spread = precision_recall(real, fake, k), density_coverage(real, fake, k)
    ours = result.precision, result.recall, spread.density, spread.coverage
    assert ours == pytest.approx([expected[name] for name in ("precision", "recall", "density", "coverage")], abs=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `:UserWarning")
@settings(max_examples=20)
@given(seeds, st.integers(30, 60))
def test_fresh_numbers_of_torchmetrics(seed, n):
    fid, kid = pytest.importorskip("torchmetrics.image.fid"), pytest.importorskip("torchmetrics.image.kid")
    generator = torch.Generator().manual_seed(seed)
    real, fake = (torch.randn(n, 8, generator=generator, dtype=torch.float64) * scale for scale in (1, 1.3))
    pairs = (
        (fid.FrechetInceptionDistance(feature=Identity()), frechet_distance, 1e-8),
        (kid.KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=n), kernel_distance, 1e-8),
    )
    for metric, ours, tolerance in pairs:
        metric.set_dtype(torch.float64)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        expected = metric.compute()
        expected = expected[0] if isinstance(expected, tuple) else expected
        assert ours(real, fake) == pytest.approx(float(expected), rel=tolerance)
