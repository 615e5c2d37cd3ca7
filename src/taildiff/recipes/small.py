"""Small runs on the embedded digits; each finishes on a laptop."""

from taildiff.recipes.record import Recipe
from taildiff.spec import DataSpec, EMASpec, FlowSpec, IntervalSpec, OptimizerSpec, RunSpec, SiTSpec, UNetSpec

DIGITS = RunSpec(
    steps=800,
    batch_size=64,
    data=DataSpec(tail="exp", ratio=0.01, resample=0.1),
    path=FlowSpec(),
    model=UNetSpec(channels=(16, 32, 64), blocks=1),
    optimizer=OptimizerSpec(lr=1e-3, warmup=50, schedule="cosine"),
    ema=EMASpec(decay=0.99),
    every=IntervalSpec(log=10, samples=0, save=200),
)
TITLES = {
    "plain": "class resampling only; the demo's baseline.",
    "ccua": "CCUA (UCL and AL) and the same class resampling.",
    "ccua-cheap": "CCUA with the pass without labels on a quarter of the batch (ours) and the same class resampling.",
    "ccua-shared": "CCUA with shared null rows (ours; one pass of a tenth of the batch serves all) and the same class "
    "resampling.",
    "cbdm": "CBDM (tau 1, labels by training frequency) and the same class resampling.",
    "t2h": "T2H target transfer and the same class resampling.",
    "dispersive": "the Dispersive loss (0.25, tau 1) on the middle block and the same class resampling.",
    "diffrop": "DiffROP (0.1, one image under two labels) and the same class resampling.",
    "coral": "CORAL in the release's scaling (0.5 x 0.1) and the same class resampling.",
}
WEIGHTS = """
    Both weights are 0.05, chosen on this data; larger ones weaken the condition of a velocity model of this size
    (docs/methods/ccua.md).
    """


def _digits(method: str, title: str) -> Recipe:
    commands = f"taildiff train mnist5k-{method} --out runs/{method}"
    note = WEIGHTS if method == "ccua" else ""
    return Recipe(f"mnist5k-{method}", f"Long-tailed digits with {title}", DIGITS, commands, method=method, note=note)


RECIPES = (
    *(_digits(method, title) for method, title in TITLES.items()),
    Recipe(
        "mnist5k-sit-ccua",
        "Long-tailed digits with CCUA on a small transformer in pixels (SiT weights 0.05); slower than the U-Net.",
        DIGITS,
        "taildiff train mnist5k-sit-ccua --out runs/sit",
        {"model": SiTSpec(depth=6, width=192, heads=3, patch=4), "steps": 5000},
    ),
)
