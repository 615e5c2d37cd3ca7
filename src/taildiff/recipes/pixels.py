"""The papers' settings on the U-Net of DDPM: CIFAR-LT, TinyImageNet-LT, Places-LT, ImageNet-LT at 64x64.

Base 128, levels 1, 2, 2, 2, two residual blocks each, attention at 16x16, dropout 0.1; noise prediction; Adam 2e-4,
warm-up 5000, norm clipped at 1, EMA 0.9999, mirrored images. The releases train 100 to 300 thousand steps with 64 or
128 images each: here 300,000, with 64 at 32x32 and 128 at 64x64; the schedule is constant, so `--steps` may change.

CCUA (alpha = gamma = 1) unless `--method` names another. Class resampling (f = 0.1) is on for TinyImageNet-LT and
ImageNet-LT and off for CIFAR-LT and Places-LT, as in the CCUA paper, and the same for all methods; `--data.resample
None` turns it off. Published numbers come from other harnesses (samplers, guidance, references, numbers of images):
they show what to expect and cannot be compared with ours. Costs: `python benchmarks/recipe_cost.py`.
"""

from taildiff.recipes.record import Recipe
from taildiff.spec import DataSpec, DDPMSpec, EMASpec, FlowSpec, IntervalSpec, OptimizerSpec, RunSpec, SiTSpec, UNetSpec

SIDE_32 = RunSpec(
    steps=300_000,
    batch_size=64,
    data=DataSpec(tail="exp", ratio=0.01, flip=True),
    path=DDPMSpec(),
    model=UNetSpec(channels=(128, 256, 256, 256), blocks=2, attention=(1,), dropout=0.1),
    optimizer=OptimizerSpec(lr=2e-4, warmup=5000),
    ema=EMASpec(decay=0.9999),
    every=IntervalSpec(log=100, samples=10_000, save=5000),
)
_DEEPER = UNetSpec(channels=(128, 256, 256, 256), blocks=2, attention=(2,), dropout=0.1)
SIDE_64 = SIDE_32.model_copy(update={"batch_size": 128, "model": _DEEPER})
RESAMPLED = {"data": DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True)}
SIT_S2 = {
    "path": FlowSpec(),
    "model": SiTSpec(depth=12, width=384, heads=6, patch=2),
    "optimizer": OptimizerSpec(lr=1e-4),
}

RECIPES = (
    Recipe(
        "cifar10lt",
        "CIFAR10-LT at rho = 0.01 (12,406 images) on the DDPM U-Net; needs a GPU.",
        SIDE_32,
        """taildiff data prepare cifar10 cifar-10-python.tar.gz --out data/cifar10
        taildiff train cifar10lt --data data/cifar10 --out runs/cifar10lt
        taildiff train cifar10lt --method plain --data data/cifar10 --out runs/cifar10lt-plain""",
        cost=(35.75, 1346, 673),
        published="CCUA's paper 5.93 without and 5.56 with CCUA; CORAL's DDPM 6.17, CBDM 5.62, T2H 7.01, CORAL 5.32; "
        "Capacity Manipulation's DDPM 10.70, CBDM 8.23, OC 8.39, CM 7.73",
    ),
    Recipe(
        "cifar10lt-plain",
        "CIFAR10-LT at rho = 0.01 with the DDPM U-Net and the setting of the CCUA release; needs a GPU.",
        SIDE_32,
        "taildiff train cifar10lt-plain --data STORE --out runs/cifar10lt-plain",
        method="plain",
        note="Equal to cifar10lt --method plain; see cifar10lt for data, cost and published numbers.",
    ),
    Recipe(
        "cifar10lt-ccua",
        "CIFAR10-LT at rho = 0.01 with CCUA at the published weights alpha = gamma = 1; needs a GPU.",
        SIDE_32,
        "taildiff train cifar10lt-ccua --data STORE --out runs/cifar10lt-ccua",
        note="Equal to cifar10lt; see there for data, cost and published numbers.",
    ),
    Recipe(
        "cifar10lt-sit-ccua",
        "CIFAR10-LT at rho = 0.01 with CCUA on SiT-S/2 in pixels, flow matching, SiT's optimiser; needs a GPU.",
        SIDE_32,
        "taildiff train cifar10lt-sit-ccua --data STORE --out runs/cifar10lt-sit",
        SIT_S2,
        cost=(32.48, 1395, 697),
    ),
    Recipe(
        "cifar100lt",
        "CIFAR100-LT at rho = 0.01 (10,847 images) on the DDPM U-Net; needs a GPU.",
        SIDE_32,
        """taildiff data prepare cifar100 cifar-100-python.tar.gz --out data/cifar100
        taildiff train cifar100lt --data data/cifar100 --out runs/cifar100lt
        taildiff train cifar100lt --method t2h --data data/cifar100 --out runs/cifar100lt-t2h""",
        cost=(35.80, 1346, 673),
        published="CORAL's DDPM 7.70, CBDM 6.02, T2H 6.78, CORAL 5.37; "
        "Capacity Manipulation's DDPM 10.16, CBDM 10.05, OC 8.31, CM 7.52",
    ),
    Recipe(
        "cifar100lt-0.001",
        "CIFAR100-LT at rho = 0.001 (7,371 images) on the DDPM U-Net; needs a GPU.",
        SIDE_32,
        """taildiff data prepare cifar100 cifar-100-python.tar.gz --out data/cifar100
        taildiff train cifar100lt-0.001 --data data/cifar100 --out runs/cifar100lt-0.001""",
        {"data": DataSpec(tail="exp", ratio=0.001, min_per_class=1, flip=True)},
        note="The rule alone leaves ten classes without an image; here each keeps at least one.",
        cost=(35.80, 1346, 673),
    ),
    Recipe(
        "tinyimagenetlt",
        "TinyImageNet-LT, 64x64, at rho = 0.01 (21,549 images) on the DDPM U-Net, with class resampling; needs a GPU.",
        SIDE_64,
        """taildiff data prepare tinyimagenet tiny-imagenet-200 --out data/tinyimagenet
        taildiff train tinyimagenetlt --data data/tinyimagenet --out runs/tinyimagenetlt""",
        RESAMPLED,
        cost=(35.85, 10_013, 5006),
    ),
    Recipe(
        "placeslt",
        "Places-LT, 64x64: CCUA's exponential cut of Places365 at rho = 0.01 on the DDPM U-Net; needs a GPU.",
        SIDE_64,
        """taildiff data prepare places365 PLACES --size 64 --out data/places64
        taildiff train placeslt --data data/places64 --out runs/placeslt""",
        note="For the published list of 62,500 images (OLTR): --data.tail list --data.list Places_LT_train.txt",
        cost=(35.93, 10_013, 5006),
    ),
    Recipe(
        "imagenetlt64",
        "ImageNet-LT, 64x64: CCUA's exponential cut at rho = 0.01 (275,288 images), U-Net, resampling; needs a GPU.",
        SIDE_64,
        """taildiff data prepare imagenet ILSVRC2012 --size 64 --out data/imagenet64
        taildiff train imagenetlt64 --data data/imagenet64 --out runs/imagenetlt64""",
        RESAMPLED,
        note="For the published list of 115,846 images (OLTR): --data.tail list --data.list ImageNet_LT_train.txt",
        cost=(36.26, 10_013, 5006),
    ),
)
