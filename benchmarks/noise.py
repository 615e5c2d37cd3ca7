"""What sampling costs with noise from Philox instead of torch's CPU generator: one run, both sides, interleaved.

    python benchmarks/noise.py --images 200 --rounds 5

prints seconds per image of either side and their ratio (medians), for Heun with 20 steps on the network of the digits.
"""

import argparse
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from taildiff import build
from taildiff.diffusion.guidance import guided
from taildiff.diffusion.samplers.base import ImageNoise, predictor, trajectory
from taildiff.recipes import recipe
from taildiff.rng import seed_of, stream
from taildiff.spec import DataFacts, SamplingSpec


class TorchNoise:
    """One torch generator per image, as up to version 0.1.0."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.shape = shape

    def __call__(self) -> Tensor:
        """The next noise for every image."""
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])


def main() -> None:
    """Time both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sampler", default="heun", choices=["heun", "ddim", "ancestral"])
    o = parser.parse_args()
    facts = DataFacts(height=28, width=28, channels=1, class_names=tuple("0123456789"), counts=(1,) * 10)
    spec = recipe("mnist5k-plain")
    network, process = build.denoiser(spec.model, facts).eval(), build.process(spec.path)
    sampling = SamplingSpec(sampler=o.sampler, steps=20)
    labels = torch.arange(o.images) % 10
    predict = predictor(guided(network.predict, 2.0, network.null_label), process, labels, clip=True)

    def philox() -> ImageNoise:
        return ImageNoise([stream(0, "image", int(y), i) for i, y in enumerate(labels)], facts.shape)

    def torch_() -> TorchNoise:
        return TorchNoise([seed_of(0, "image", int(y), i) for i, y in enumerate(labels)], facts.shape)

    seconds: dict[str, list[float]] = {"torch": [], "philox": []}
    for number in range(o.rounds + 1):
        for name, make in (("torch", torch_), ("philox", philox)):
            start = time.perf_counter()
            with torch.inference_mode():
                *_, _ = trajectory(build.sampler(sampling, process), build.times(sampling, process), predict, make())
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    each = {name: median(values) / o.images for name, values in seconds.items()}
    print(f"torch {1000 * each['torch']:.2f} ms per image, Philox {1000 * each['philox']:.2f} ms")
    print(f"ratio {np.median(np.divide(seconds['philox'], seconds['torch'])):.3f}")


if __name__ == "__main__":
    main()
