"""Recipes that fit themselves to the data; what they choose is printed and kept in the run."""

import math

from taildiff.recipes.methods import with_method
from taildiff.spec import (
    DataFacts,
    DataSpec,
    EMASpec,
    FlowSpec,
    IntervalSpec,
    OptimizerSpec,
    RunSpec,
    SiTSpec,
    UNetSpec,
)

METHOD = "ccua"
"""The method of these recipes: the cheapest one that examples/studies/ccua-cheap.toml finds within its margin of full
CCUA and ccua-cheap-confirm.toml confirms; full CCUA until one is."""


def auto_ccua(facts: DataFacts) -> RunSpec:
    """CCUA on your own images: network, batch size, steps and order are chosen from the data and printed.

    Steps are 20 epochs of the uncut training images, at least 800 and at most 100,000.

    taildiff train auto-ccua --data STORE --out runs/first
    """
    channels, *sides = facts.shape
    size, rich = min(sides), channels >= 3
    levels = max(1, min(4, _halvings(size) + 1))
    width = 32 if rich or size >= 48 else 16
    model = UNetSpec(
        channels=tuple(width * 2 ** min(level, 2) for level in range(levels)),
        blocks=2 if rich else 1,
        attention=tuple(level for level in range(1, levels) if size >> level <= 16) if rich else (),
    )
    return _auto("auto-ccua", facts, model, epochs=20)


def auto_sit_ccua(facts: DataFacts) -> RunSpec:
    """The same on a transformer, meant for latents: about 256 tokens; SiT-S from 50,000 images, below that a quarter.

    Steps are 40 epochs of the uncut training images, at least 800 and at most 100,000: transformers learn more slowly.

    taildiff data encode STORE --vae stabilityai/sd-vae-ft-ema --out LATENTS
    taildiff train auto-sit-ccua --data LATENTS --out runs/first
    """
    _, height, width = facts.shape
    patches = [p for p in range(1, min(height, width) + 1) if height % p == width % p == 0]
    patch = min(patches, key=lambda p: abs(math.log(height * width / p**2 / 256)))
    if sum(facts.counts) < 50_000:
        model = SiTSpec(depth=6, width=192, heads=3, patch=patch)
    else:
        model = SiTSpec(depth=12, width=384, heads=6, patch=patch)
    return _auto("auto-sit-ccua", facts, model, epochs=40)


def _auto(name: str, facts: DataFacts, model: UNetSpec | SiTSpec, epochs: int) -> RunSpec:
    images = sum(facts.counts)
    batch = max(2, min(64, images))
    spec = RunSpec(
        recipe=name,
        steps=min(100_000, max(800, epochs * images // batch // 100 * 100)),
        batch_size=batch,
        data=DataSpec(tail="natural", resample=0.1, flip=facts.channels == 3),  # grey images may be digits
        path=FlowSpec(),
        model=model,
        optimizer=OptimizerSpec(lr=5e-4, warmup=100, schedule="constant"),
        ema=EMASpec(decay=0.999),
        every=IntervalSpec(log=10, samples=1000, save=500),
    )
    return with_method(spec, METHOD)


def _halvings(size: int) -> int:
    """How often a size can be halved evenly while at least 4 pixels remain."""
    count = 0
    while size % 2 == 0 and size // 2 >= 4:
        size, count = size // 2, count + 1
    return count
