"""Write oracles.npz: small features and what torchmetrics and prdc say of them, for tests that have neither.

    python -m pip install torchmetrics prdc
    python tests/golden/make_oracles.py

Calls their public interfaces; none of our code is in it. (prdc needs scikit-learn, which mlxtend brings.)
"""

from pathlib import Path

import numpy as np
import torch
from prdc import compute_prdc
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance


class Identity(torch.nn.Module):
    """An extractor for which features are the images."""

    def __init__(self, dim: int):
        super().__init__()
        self.num_features = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As they are."""
        return x


def main() -> None:
    """Everything is drawn from seed 0 and saved in the precision it is used in."""
    rng = np.random.default_rng(0)
    scale = np.geomspace(2, 0.1, 12)
    real = (1 + scale * rng.normal(size=(180, 12))).astype(np.float32)
    fake = (1.2 + 0.8 * scale * rng.normal(size=(150, 12))).astype(np.float32)
    logits = rng.normal(size=(120, 6)).astype(np.float64) * 2
    found = {"real": real, "fake": fake, "logits": logits}
    for k in (3, 5):
        found |= {f"{name}{k}": np.float64(value) for name, value in compute_prdc(real, fake, nearest_k=k).items()}
    a, b = torch.from_numpy(real), torch.from_numpy(fake)
    fid = FrechetInceptionDistance(feature=Identity(12))
    fid.set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=Identity(12), subsets=1, subset_size=150)
    kid.set_dtype(torch.float64)
    for metric in (fid, kid):
        metric.update(b[:150].double(), real=False)
        metric.update((a if metric is fid else a[:150]).double(), real=True)
    inception = InceptionScore(feature=Identity(6), splits=1)
    inception.update(torch.from_numpy(logits))
    found |= {"frechet": fid.compute().numpy(), "kid_first_150": kid.compute()[0].numpy()}
    found["inception_score"] = inception.compute()[0].numpy()
    np.savez_compressed(Path(__file__).parent / "oracles.npz", **found)
    print({name: float(value) for name, value in found.items() if value.ndim == 0})  # noqa: T201


if __name__ == "__main__":
    main()
