"""The papers' settings at 256x256: ImageNet-LT with SiT on 32x32x4 latents of a VAE (sd-vae-ft-ema, scaled by 0.18215).

Patch 2, velocity, AdamW 1e-4 constant without decay, EMA 0.9999, mirrored images. SiT trains with 256 images per step;
CCUA with 48, which the SiT-S/2 recipes use. 400,000 steps are those at which the SiT paper compares its sizes; how long
CCUA's runs were is not known to us. `learn_sigma` is off: half of its outputs are never used. It is needed to start
from an official checkpoint. Clipping the gradient at norm 1 is ours. bf16 is ours too: it is used for the products
inside the network only; weights, optimiser, EMA and losses stay float32, and `--precision 32-true` turns it off.

CCUA (alpha = gamma = 0.05) unless `--method` names another, and class resampling (f = 0.1) for all methods, as in the
CCUA paper; `--data.resample None` turns it off. Published numbers come from other harnesses (samplers, guidance,
references, numbers of images): they show what to expect and cannot be compared with ours. Costs:
benchmarks/recipe_cost.py.
"""

from taildiff.recipes.record import Recipe
from taildiff.spec import DataSpec, EMASpec, FlowSpec, IntervalSpec, OptimizerSpec, RunSpec, SiTSpec

PREFIX = "imagenetlt256-"
"""What the names of these recipes start with."""
SIT_S2 = RunSpec(
    steps=400_000,
    batch_size=48,
    precision="bf16-mixed",
    data=DataSpec(tail="exp", ratio=0.01, resample=0.1, flip=True),
    path=FlowSpec(),
    model=SiTSpec(depth=12, width=384, heads=6, patch=2),
    optimizer=OptimizerSpec(lr=1e-4),
    ema=EMASpec(decay=0.9999),
    every=IntervalSpec(log=100, samples=0, save=10_000),
)
LATENTS = """taildiff data prepare imagenet ILSVRC2012 --size 256 --out data/imagenet256
    taildiff data encode data/imagenet256 --vae stabilityai/sd-vae-ft-ema --out data/imagenet256-latents
    """
CUT = "ImageNet-LT, 256x256, CCUA's exponential cut at rho = 0.01 (275,288 images)"

RECIPES = (
    Recipe(
        PREFIX + "sit-s2",
        f"{CUT} on SiT-S/2; needs a GPU.",
        SIT_S2,
        LATENTS + "taildiff train imagenetlt256-sit-s2 --data data/imagenet256-latents --out runs/sit-s2",
        cost=(32.86, 1395, 697),
        published="CCUA's paper 28.05 for SiT with resampling, 32.25 for CCUA without; its best is CCUA with "
        "resampling, this recipe",
    ),
    Recipe(
        PREFIX + "oltr-sit-s2",
        "ImageNet-LT, 256x256, the published list (OLTR, 115,846 images) on SiT-S/2; needs a GPU.",
        SIT_S2,
        r"""taildiff data prepare list ImageNet_LT_train.txt --test ImageNet_LT_test.txt --root ILSVRC2012 --size 256 \
            --expect imagenet-lt --out data/imagenetlt
        taildiff data encode data/imagenetlt --vae stabilityai/sd-vae-ft-ema --out data/imagenetlt-latents
        taildiff train imagenetlt256-oltr-sit-s2 --data data/imagenetlt-latents --out runs/sit-s2-oltr""",
        {"data": DataSpec(resample=0.1, flip=True)},
        note="""That store holds only the images of the lists, so nothing is cut. With latents of all of ImageNet, add
        --data.tail list --data.list ImageNet_LT_train.txt""",
        cost=(32.86, 1395, 697),
    ),
    Recipe(
        PREFIX + "sit-b2",
        f"{CUT} on SiT-B/2; needs a GPU.",
        SIT_S2,
        LATENTS + "taildiff train imagenetlt256-sit-b2 --data data/imagenet256-latents --out runs/sit-b2",
        {"model": SiTSpec(depth=12, width=768, heads=12, patch=2), "batch_size": 256},
        cost=(130.30, 28_265, 14_132),
    ),
    Recipe(
        PREFIX + "sit-xl2",
        f"{CUT} on SiT-XL/2; needs several GPUs.",
        SIT_S2,
        LATENTS
        + r"""taildiff train imagenetlt256-sit-xl2 --data data/imagenet256-latents --out runs/sit-xl2
    taildiff train imagenetlt256-sit-xl2 --model.learn-sigma --from SiT-XL-2-256x256.pt \
        --data data/imagenet256-latents --out runs/sit-xl2-tuned""",
        {"model": SiTSpec(depth=28, width=1152, heads=16, patch=2), "batch_size": 256},
        note="""The last command starts from the official checkpoint, which saw all of ImageNet, where these rare
        classes were common. To save memory at the cost of time: --model.checkpointing, --accumulate 4.""",
        cost=(674.82, 145_756, 72_878),
    ),
)
