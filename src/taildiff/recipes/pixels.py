"""The papers' settings on the U-Net of DDPM: CIFAR-LT, TinyImageNet-LT, Places-LT, ImageNet-LT at 64x64.

Base 128, levels 1, 2, 2, 2, two residual blocks each, attention at 16x16, dropout 0.1; noise prediction; Adam 2e-4,
warm-up 5000, norm clipped at 1, EMA 0.9999, mirror images. The releases train 100 to 300 thousand steps with 64 or 128
images each: here 300,000, with 64 at 32x32 and 128 at 64x64; the schedule is constant, so that `--steps` may change.

CCUA (alpha = gamma = 1) unless `--method` names another. Class resampling (f = 0.1) is on for TinyImageNet-LT and
ImageNet-LT and off for CIFAR-LT and Places-LT, as in the CCUA paper, and the same for all methods; `--data.resample
None` is without. Published numbers are of other harnesses (samplers, guidance, references, numbers of images): they
say what to expect, and are not to be put beside ours. Costs: `python benchmarks/recipe_cost.py`.
"""

from taildiff.recipes.methods import with_method
from taildiff.spec import (
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


def cifar10lt() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 (12,406 images) on the DDPM U-Net; wants a GPU.

    taildiff data prepare cifar10 cifar-10-python.tar.gz --out data/cifar10
    taildiff train cifar10lt --data data/cifar10 --out runs/cifar10lt
    taildiff train cifar10lt --method plain --data data/cifar10 --out runs/cifar10lt-plain

    Cost: 35.75 M parameters, 300,000 steps of 64: 19.2 M images, 1,434 PFLOP (plain 717).
    Published FID, other harnesses: CCUA's paper 5.93 without and 5.56 with CCUA; CORAL's DDPM 6.17, CBDM 5.62,
    T2H 7.01, CORAL 5.32; Capacity Manipulation's DDPM 10.70, CBDM 8.23, OC 8.39, CM 7.73.
    """
    return _unet("cifar10lt", DataSpec(tail="exp", ratio=0.01, flip=True), batch_size=64, attention=1)


def cifar10lt_plain() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 with the DDPM U-Net and the setting of the CCUA release; wants a GPU.

    taildiff train cifar10lt-plain --data STORE --out runs/cifar10lt-plain

    Equal to cifar10lt --method plain, where data, cost and published numbers are.
    """
    return with_method(cifar10lt().model_copy(update={"recipe": "cifar10lt-plain"}), "plain")


def cifar10lt_ccua() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 with CCUA at the published weights alpha = gamma = 1; wants a GPU.

    taildiff train cifar10lt-ccua --data STORE --out runs/cifar10lt-ccua

    Equal to cifar10lt, where data, cost and published numbers are.
    """
    return cifar10lt().model_copy(update={"recipe": "cifar10lt-ccua"})


def cifar10lt_sit_ccua() -> RunSpec:
    """CIFAR10-LT at rho = 0.01 with CCUA on SiT-S/2 in pixels, flow matching, SiT's optimiser; wants a GPU.

    taildiff train cifar10lt-sit-ccua --data STORE --out runs/cifar10lt-sit

    Cost: 32.48 M parameters, 300,000 steps of 64: 19.2 M images, 1,395 PFLOP (plain 697).
    Published FID: none known to us.
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
    taildiff train cifar100lt --method t2h --data data/cifar100 --out runs/cifar100lt-t2h

    Cost: 35.80 M parameters, 300,000 steps of 64: 19.2 M images, 1,434 PFLOP (plain 717).
    Published FID, other harnesses: CORAL's DDPM 7.70, CBDM 6.02, T2H 6.78, CORAL 5.37; Capacity Manipulation's
    DDPM 10.16, CBDM 10.05, OC 8.31, CM 7.52.
    """
    return _unet("cifar100lt", DataSpec(tail="exp", ratio=0.01, flip=True), batch_size=64, attention=1)


def cifar100lt_0_001() -> RunSpec:
    """CIFAR100-LT at rho = 0.001 (7,371 images) on the DDPM U-Net; wants a GPU.

    The rule alone leaves ten classes without an image; here each keeps at least one.

    taildiff data prepare cifar100 cifar-100-python.tar.gz --out data/cifar100
    taildiff train cifar100lt-0.001 --data data/cifar100 --out runs/cifar100lt-0.001

    Cost: 35.80 M parameters, 300,000 steps of 64: 19.2 M images, 1,434 PFLOP (plain 717).
    Published FID: none known to us.
    """
    tail = DataSpec(tail="exp", ratio=0.001, min_per_class=1, flip=True)
    return _unet("cifar100lt-0.001", tail, batch_size=64, attention=1)


def tinyimagenetlt() -> RunSpec:
    """TinyImageNet-LT, 64x64, at rho = 0.01 (21,549 images) on the DDPM U-Net, with class resampling; wants a GPU.

    taildiff data prepare tinyimagenet tiny-imagenet-200 --out data/tinyimagenet
    taildiff train tinyimagenetlt --data data/tinyimagenet --out runs/tinyimagenetlt

    Cost: 35.85 M parameters, 300,000 steps of 128: 38.4 M images, 10,769 PFLOP (plain 5,385).
    Published FID: none known to us.
    """
    tail = DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True)
    return _unet("tinyimagenetlt", tail, batch_size=128, attention=2)


def placeslt() -> RunSpec:
    """Places-LT, 64x64: CCUA's exponential cut of Places365 at rho = 0.01 on the DDPM U-Net; wants a GPU.

    taildiff data prepare places365 PLACES --size 64 --out data/places64
    taildiff train placeslt --data data/places64 --out runs/placeslt

    The list of 62,500 images (OLTR): --data.tail list --data.list Places_LT_train.txt

    Cost: 35.93 M parameters, 300,000 steps of 128: 38.4 M images, 10,769 PFLOP (plain 5,385).
    Published FID: none known to us.
    """
    return _unet("placeslt", DataSpec(tail="exp", ratio=0.01, flip=True), batch_size=128, attention=2)


def imagenetlt64() -> RunSpec:
    """ImageNet-LT, 64x64: CCUA's exponential cut at rho = 0.01 (275,288 images), U-Net, class resampling; wants a GPU.

    taildiff data prepare imagenet ILSVRC2012 --size 64 --out data/imagenet64
    taildiff train imagenetlt64 --data data/imagenet64 --out runs/imagenetlt64

    The list of 115,846 images (OLTR): --data.tail list --data.list ImageNet_LT_train.txt

    Cost: 36.26 M parameters, 300,000 steps of 128: 38.4 M images, 10,769 PFLOP (plain 5,385).
    Published FID: none known to us.
    """
    tail = DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True)
    return _unet("imagenetlt64", tail, batch_size=128, attention=2)


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
