"""The papers' settings at 256x256: ImageNet-LT with SiT on 32x32x4 latents of a VAE (sd-vae-ft-ema, scaled by 0.18215).

Patch 2, velocity, AdamW 1e-4 constant without decay, EMA 0.9999, mirror images. SiT trains with 256 images a step; CCUA
with 48, which is what the recipes of SiT-S/2 take. 400,000 steps are those at which the SiT paper compares its sizes;
how long CCUA's runs were is not known to us. `learn_sigma` is off: half of its outputs are never used. It is needed to
begin with an official checkpoint. Clipping the gradient at norm 1 is ours. bf16 is ours too: it is for the products
inside the network only; weights, optimiser, EMA and losses stay float32, and `--precision 32-true` is without.
No sample grids while training, for which the VAE would be needed.

CCUA (alpha = gamma = 0.05) unless `--method` names another, and class resampling (f = 0.1) for all methods, as in the
CCUA paper; `--data.resample None` is without. Published numbers are of other harnesses (samplers, guidance, references,
numbers of images): they say what to expect, and are not to be put beside ours. Costs: benchmarks/recipe_cost.py.
"""

from taildiff.data.formats.published import CUTS
from taildiff.errors import DataError
from taildiff.recipes.methods import with_method
from taildiff.spec import DataFacts, DataSpec, EMASpec, FlowSpec, IntervalSpec, OptimizerSpec, RunSpec, SiTSpec

PREFIX = "imagenetlt256-"
"""What the names of these recipes begin with."""
OLTR_IMAGES = CUTS["imagenet-lt"].lines
"""Training images of ImageNet-LT's published list."""
LONG_TAILED = 10
"""Commonest class over rarest, which all of ImageNet (1.8) and of Places365 (1.6) do not reach."""


def imagenetlt256_sit_s2() -> RunSpec:
    """ImageNet-LT, 256x256, CCUA's exponential cut at rho = 0.01 (275,288 images) on SiT-S/2; wants a GPU.

    taildiff data prepare imagenet ILSVRC2012 --size 256 --out data/imagenet256
    taildiff data encode data/imagenet256 --vae stabilityai/sd-vae-ft-ema --out data/imagenet256-latents
    taildiff train imagenetlt256-sit-s2 --data data/imagenet256-latents --out runs/sit-s2

    Cost: 32.86 M parameters, 400,000 steps of 48: 19.2 M images, 1,395 PFLOP (plain 697).
    Published FID, other harnesses: CCUA's paper 28.05 for SiT with resampling, 32.25 for CCUA without; best is CCUA
    with resampling, this recipe.
    """
    return _sit("imagenetlt256-sit-s2", SiTSpec(depth=12, width=384, heads=6, patch=2), batch_size=48)


def imagenetlt256_oltr_sit_s2() -> RunSpec:
    r"""ImageNet-LT, 256x256, the published list (OLTR, 115,846 images) on SiT-S/2; wants a GPU.

    taildiff data prepare list ImageNet_LT_train.txt --test ImageNet_LT_test.txt --root ILSVRC2012 --size 256 \
        --expect imagenet-lt --out data/imagenetlt
    taildiff data encode data/imagenetlt --vae stabilityai/sd-vae-ft-ema --out data/imagenetlt-latents
    taildiff train imagenetlt256-oltr-sit-s2 --data data/imagenetlt-latents --out runs/sit-s2-oltr

    That store holds the images of the lists alone, so nothing is cut. With latents of all of ImageNet:
    --data.tail list --data.list ImageNet_LT_train.txt

    Cost: 32.86 M parameters, 400,000 steps of 48: 19.2 M images, 1,395 PFLOP (plain 697).
    Published FID: none known to us.
    """
    changes = {"recipe": "imagenetlt256-oltr-sit-s2", "data": DataSpec(resample=0.1, flip=True)}
    return imagenetlt256_sit_s2().model_copy(update=changes)


def imagenetlt256_sit_b2() -> RunSpec:
    """ImageNet-LT, 256x256, CCUA's exponential cut at rho = 0.01 (275,288 images) on SiT-B/2; wants a GPU.

    taildiff data prepare imagenet ILSVRC2012 --size 256 --out data/imagenet256
    taildiff data encode data/imagenet256 --vae stabilityai/sd-vae-ft-ema --out data/imagenet256-latents
    taildiff train imagenetlt256-sit-b2 --data data/imagenet256-latents --out runs/sit-b2

    Cost: 130.30 M parameters, 400,000 steps of 256: 102.4 M images, 28,265 PFLOP (plain 14,132).
    Published FID: none known to us.
    """
    return _sit("imagenetlt256-sit-b2", SiTSpec(depth=12, width=768, heads=12, patch=2), batch_size=256)


def imagenetlt256_sit_xl2() -> RunSpec:
    r"""ImageNet-LT, 256x256, CCUA's exponential cut at rho = 0.01 (275,288 images) on SiT-XL/2; wants several GPUs.

    taildiff data prepare imagenet ILSVRC2012 --size 256 --out data/imagenet256
    taildiff data encode data/imagenet256 --vae stabilityai/sd-vae-ft-ema --out data/imagenet256-latents
    taildiff train imagenetlt256-sit-xl2 --data data/imagenet256-latents --out runs/sit-xl2
    taildiff train imagenetlt256-sit-xl2 --model.learn-sigma --from SiT-XL-2-256x256.pt \
        --data data/imagenet256-latents --out runs/sit-xl2-tuned

    The last one begins with the official checkpoint, which saw all of ImageNet: its rare classes were common there.
    Less memory for more time: --model.checkpointing, --accumulate 4.

    Cost: 674.82 M parameters, 400,000 steps of 256: 102.4 M images, 145,756 PFLOP (plain 72,878).
    Published FID: none known to us.
    """
    return _sit("imagenetlt256-sit-xl2", SiTSpec(depth=28, width=1152, heads=16, patch=2), batch_size=256)


def _sit(name: str, model: SiTSpec, batch_size: int) -> RunSpec:
    """CCUA on a SiT in latents."""
    spec = RunSpec(
        recipe=name,
        steps=400_000,
        batch_size=batch_size,
        precision="bf16-mixed",
        data=DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True),
        path=FlowSpec(),
        model=model,
        optimizer=OptimizerSpec(lr=1e-4),
        ema=EMASpec(decay=0.9999),
        every=IntervalSpec(log=100, samples=0, save=10_000),
    )
    return with_method(spec, "ccua")


def check_data(spec: RunSpec, facts: DataFacts) -> None:
    """`DataError` for data that the recipe cannot mean: pixels for latents, or the other of a dataset's two splits."""
    data = facts.name or "this store"
    lists = spec.recipe.startswith(("imagenetlt", "placeslt"))
    if lists and spec.data.tail == "exp" and max(facts.counts) > LONG_TAILED * min(facts.counts):
        raise DataError(
            f"{spec.recipe} cuts a tail from all images, and {data} is long-tailed already ({max(facts.counts):,} to "
            f"{min(facts.counts):,} images a class), as a store of a published list is: --data.tail natural keeps it "
            f"whole{f' ({PREFIX}oltr-sit-s2 does)' if spec.recipe.startswith(PREFIX) else ''}"
        )
    if not spec.recipe.startswith(PREFIX):
        return
    if facts.codec is None:
        patch = spec.model.patch if isinstance(spec.model, SiTSpec) else 1
        tokens = (facts.height // patch) * (facts.width // patch)
        raise DataError(
            f"{spec.recipe} trains on latents, and {data} has pixels ({facts.height}x{facts.width}, {tokens:,} tokens "
            "an image): taildiff data encode STORE --vae stabilityai/sd-vae-ft-ema --out LATENTS, then --data LATENTS"
        )
    images = sum(facts.counts)
    if "-oltr-" in spec.recipe and spec.data.tail == "natural" and images > OLTR_IMAGES:
        raise DataError(
            f"{spec.recipe} is for the {OLTR_IMAGES:,} images of ImageNet-LT's list, and {data} has {images:,} for "
            "training: cut them with --data.tail list --data.list ImageNet_LT_train.txt, or prepare a store of the list"
        )
