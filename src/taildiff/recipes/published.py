"""The settings of the papers: CCUA's datasets and tails, on the U-Net of DDPM and on SiT in latents of a VAE.

Two networks, each with its releases' training:

    U-Net   base 128, levels 1, 2, 2, 2, attention at 16x16, dropout 0.1; noise prediction; Adam 2e-4, warm-up 5000
    SiT     patch 2 on 32x32x4 latents; velocity; AdamW 1e-4, constant; EMA 0.9999 for both

The method is CCUA unless `--method` names another. Class resampling (f = 0.1) is on for ImageNet-LT and
TinyImageNet-LT and off for CIFAR-LT and Places-LT, as in the CCUA paper, and the same for all methods;
`--data.resample None` is without. Published numbers are of other harnesses: other samplers, guidance, references and
numbers of images. They say what to expect, and are never to be put beside ours without saying so.
Costs: `python benchmarks/recipe_cost.py`; PFLOP are those of the network, backward counted as twice forward.
"""

from taildiff.errors import DataError
from taildiff.recipes.methods import with_method
from taildiff.spec import (
    DataFacts,
    DataSpec,
    DDPMSpec,
    EMASpec,
    FlowSpec,
    IntervalSpec,
    LabelDropSpec,
    ObjectiveSpec,
    OptimizerSpec,
    RunSpec,
    SiTSpec,
    UNetSpec,
)

LATENT = "imagenetlt256-"
"""What the names of the recipes for latents begin with."""
OLTR_IMAGES = 115_846
"""Training images of ImageNet-LT's published list."""


def cifar10lt() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 (12,406 images) on the DDPM U-Net; wants a GPU.

    taildiff data prepare cifar10 cifar-10-python.tar.gz --out data/cifar10
    taildiff train cifar10lt --data data/cifar10 --out runs/cifar10lt
    taildiff train cifar10lt --method plain --data data/cifar10 --out runs/cifar10lt-plain
    """
    return _unet("cifar10lt", DataSpec(tail="exp", ratio=0.01, flip=True), batch_size=64, attention=1)


def cifar10lt_plain() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 with the DDPM U-Net (35.7 M) and the setting of the CCUA release; wants a GPU.

    taildiff train cifar10lt-plain --data STORE --out runs/cifar10lt-plain
    """
    return with_method(cifar10lt().model_copy(update={"recipe": "cifar10lt-plain"}), "plain")


def cifar10lt_ccua() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 with CCUA at the published weights alpha = gamma = 1; wants a GPU.

    taildiff train cifar10lt-ccua --data STORE --out runs/cifar10lt-ccua
    """
    return cifar10lt().model_copy(update={"recipe": "cifar10lt-ccua"})


def cifar10lt_sit_ccua() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 with CCUA on SiT-S/2 in pixels, flow matching, SiT's optimiser; wants a GPU.

    taildiff train cifar10lt-sit-ccua --data STORE --out runs/cifar10lt-sit
    """
    changes = {
        "recipe": "cifar10lt-sit-ccua",
        "path": FlowSpec(),
        "model": SiTSpec(depth=12, width=384, heads=6, patch=2),
        "optimizer": OptimizerSpec(lr=1e-4),
    }
    return with_method(cifar10lt().model_copy(update=changes), "ccua")


def cifar100lt() -> RunSpec:
    """CIFAR100-LT at rho = 0.01 (10,847 images) on the DDPM U-Net; wants a GPU.

    taildiff data prepare cifar100 cifar-100-python.tar.gz --out data/cifar100
    taildiff train cifar100lt --data data/cifar100 --out runs/cifar100lt
    """
    return _unet("cifar100lt", DataSpec(tail="exp", ratio=0.01, flip=True), batch_size=64, attention=1)


def cifar100lt_0_001() -> RunSpec:
    """CIFAR100-LT at rho = 0.001; every class keeps at least one image, where the rule alone leaves some none.

    taildiff train cifar100lt-0.001 --data data/cifar100 --out runs/cifar100lt-0.001
    """
    tail = DataSpec(tail="exp", ratio=0.001, min_per_class=1, flip=True)
    return _unet("cifar100lt-0.001", tail, batch_size=64, attention=1)


def tinyimagenetlt() -> RunSpec:
    """TinyImageNet-LT at rho = 0.01 (21,549 images of 64x64) on the DDPM U-Net, with class resampling; wants a GPU.

    taildiff train tinyimagenetlt --data data/tinyimagenet --out runs/tinyimagenetlt
    """
    tail = DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True)
    return _unet("tinyimagenetlt", tail, batch_size=128, attention=2)


def placeslt() -> RunSpec:
    """Places-LT, 64x64: CCUA's exponential cut of Places365 at rho = 0.01 on the DDPM U-Net; wants a GPU.

    taildiff train placeslt --data data/places --out runs/placeslt
    """
    return _unet("placeslt", DataSpec(tail="exp", ratio=0.01, flip=True), batch_size=128, attention=2)


def imagenetlt64() -> RunSpec:
    """ImageNet-LT, 64x64: CCUA's exponential cut at rho = 0.01 (275,288) on the DDPM U-Net, with class resampling.

    taildiff train imagenetlt64 --data data/imagenet64 --out runs/imagenetlt64
    """
    tail = DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True)
    return _unet("imagenetlt64", tail, batch_size=128, attention=2)


def imagenetlt256_sit_s2() -> RunSpec:
    """ImageNet-LT, 256x256 in latents: CCUA's exponential cut at rho = 0.01 (275,288) on SiT-S/2.

    taildiff train imagenetlt256-sit-s2 --data data/latents --out runs/sit-s2
    """
    return _sit("imagenetlt256-sit-s2", SiTSpec(depth=12, width=384, heads=6, patch=2), batch_size=48)


def imagenetlt256_oltr_sit_s2() -> RunSpec:
    """ImageNet-LT, 256x256 in latents: the OLTR list of 115,846 images on SiT-S/2.

    taildiff train imagenetlt256-oltr-sit-s2 --data data/latents --out runs/sit-s2-oltr
    """
    changes = {"recipe": "imagenetlt256-oltr-sit-s2", "data": DataSpec(resample=0.1, flip=True)}
    return imagenetlt256_sit_s2().model_copy(update=changes)


def imagenetlt256_sit_b2() -> RunSpec:
    """ImageNet-LT, 256x256 in latents: CCUA's exponential cut at rho = 0.01 (275,288) on SiT-B/2.

    taildiff train imagenetlt256-sit-b2 --data data/latents --out runs/sit-b2
    """
    return _sit("imagenetlt256-sit-b2", SiTSpec(depth=12, width=768, heads=12, patch=2), batch_size=256)


def imagenetlt256_sit_xl2() -> RunSpec:
    """ImageNet-LT, 256x256 in latents: CCUA's exponential cut at rho = 0.01 (275,288) on SiT-XL/2.

    taildiff train imagenetlt256-sit-xl2 --data data/latents --out runs/sit-xl2
    """
    return _sit("imagenetlt256-sit-xl2", SiTSpec(depth=28, width=1152, heads=16, patch=2), batch_size=256)


def _unet(name: str, data: DataSpec, batch_size: int, attention: int) -> RunSpec:
    """CCUA on the U-Net of DDPM; `attention` is the level at which the image is 16x16."""
    spec = RunSpec(
        recipe=name,
        steps=300_000,
        batch_size=batch_size,
        data=data,
        path=DDPMSpec(),
        model=UNetSpec(channels=(128, 256, 256, 256), blocks=2, attention=(attention,), dropout=0.1),
        objective=ObjectiveSpec(drop=LabelDropSpec(p=0.1)),
        optimizer=OptimizerSpec(lr=2e-4, warmup=5000),
        ema=EMASpec(decay=0.9999),
        every=IntervalSpec(log=100, samples=10_000, save=5000),
    )
    return with_method(spec, "ccua")


def _sit(name: str, model: SiTSpec, batch_size: int) -> RunSpec:
    """CCUA on a SiT in latents. bf16: weights, optimiser, EMA and losses stay float32. No grids: they need the VAE."""
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
    """`DataError` for data that the recipe cannot mean: pixels for latents, all of ImageNet for the OLTR list."""
    if not spec.recipe.startswith(LATENT):
        return
    data = facts.name or "this store"
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
