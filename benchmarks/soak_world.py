"""A tiny world for `soak_verbs.py`: the commands, the pairs of them, and the files from which they start."""

import os
import shutil
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from killing import Work
from PIL import Image

from soak import SPEC as TINY
from taildiff.api import filling_photos
from taildiff.cli import (  # noqa: F401 (before the fork)
    compare,
    data,
    demo,
    encode,
    evaluate,
    export,
    export_data,
    fill,
    gallery,
    report,
    sample,
    study,
    train,
)
from taildiff.cli.main import main as taildiff
from taildiff.data.formats import find
from taildiff.data.prepare import prepare
from taildiff.evaluation import classifier_network
from taildiff.evaluation import evaluate as run_evaluation  # noqa: F401
from taildiff.filling import fill as run_fill  # noqa: F401
from taildiff.models import codec  # noqa: F401
from taildiff.reporting import plots  # noqa: F401
from taildiff.reporting import report as page
from taildiff.spec import DDPMSpec, EvalSpec, IntervalSpec, RunSpec, SamplingSpec, UNetSpec

FAST = ("--sampler", "euler", "--steps", "2")
EVALUATE = ("evaluate", "run", "--per-class", "6", "--guidance", "1,2", *FAST)
COMMANDS: dict[str, tuple[str, ...]] = {
    "data prepare": ("data", "prepare", "folder", "photos", "--out", "made", "--size", "8"),
    "data encode": ("data", "encode", "store", "--vae", "vae", "--out", "latents", "--batch-size", "4"),
    "train": ("train", "spec.json", "--data", "store", "--out", "new"),
    "sample": ("sample", "run", "--out", "images", "--per-class", "3", "--guidance", "1.5", *FAST),
    "sample npz": ("sample", "run", "--out", "a.npz", "--format", "npz", "--guidance", "1.5", *FAST),
    "evaluate RUN": EVALUATE,
    "evaluate FOLDER": ("evaluate", "photos", "--data", "store", "--out", "judged"),
    "compare": ("compare", "one", "two", "--out", "table.csv"),
    "report": ("report", "one", "two", "--out", "page.html"),
    "export": ("export", "run", "exported", *FAST),
    "data export": ("data", "export", "store", "--to", "imagefolder", "--out", "files"),
    "demo": ("demo", "--out", "demo"),
    "fill RUN": (
        "fill",
        "run",
        "--add",
        "3",
        "--keep-rejected",
        "--force",
        "--out",
        "filled",
        "--guidance",
        "1",
        *FAST,
    ),
    "fill FOLDER": ("fill", "photos", "--add", "2", "--force", "--size", "8", "--out", "whole", *FAST),
    "gallery": ("gallery", "one", "--out", "gallery.html"),
    "study run": ("study", "run", "study.toml"),
}
"""These are killed."""
OTHERS: dict[str, tuple[str, ...]] = {
    "evaluate RUN, other guidance": (*EVALUATE[:4], "--guidance", "2", *FAST),
    "evaluate another run": ("evaluate", "two", *EVALUATE[2:]),
    "evaluate the new run": ("evaluate", "new", *EVALUATE[2:]),
    "report on the run": ("report", "run"),
    "report on the new run": ("report", "new"),
    "train on it": ("train", "spec.json", "--data", "made", "--out", "new"),
    "sample the new run": ("sample", "new", *COMMANDS["sample"][2:]),
}
ALL = {**COMMANDS, **OTHERS}
PAIRS = [
    *((name, name) for name in COMMANDS),
    ("evaluate RUN", "evaluate RUN, other guidance"),
    ("evaluate RUN", "evaluate another run"),
    ("evaluate RUN", "report on the run"),
    ("evaluate RUN", "evaluate FOLDER"),
    ("train", "evaluate the new run"),
    ("train", "report on the new run"),
    ("train", "sample the new run"),
    ("data prepare", "train on it"),
    ("sample", "evaluate RUN"),
    ("evaluate another run", "compare"),
    ("evaluate another run", "report"),
    ("demo", "data prepare"),
]
NEW = ("sample", "export", "data export")
"""These exit with 2 where the output exists."""
MAY_REFUSE = (*NEW, "train", "demo", "fill FOLDER", "evaluate the new run", "report on the new run")
"""These exit with 2 also where another process trains the run, or there is no run yet."""
EVERY = IntervalSpec(log=2, samples=4, save=2, keep=2)
SPEC = TINY.model_copy(
    update={
        "steps": 12,
        "every": EVERY,
        "model": UNetSpec(channels=(8,), dropout=0.1),
        "path": DDPMSpec(timesteps=4, beta_start=0.1, beta_end=0.9),  # so that sample grids take four steps
    }
)


STUDY = """
[seeds]
training = [4]
choose = 0
report = 1
[[datasets]]
name = "noise"
recipe = "mnist5k-plain"
data = "store"
changes = { model.channels = [8], batch_size = 4, data.tail = "natural" }
[[methods]]
name = "plain"
[[methods]]
name = "cbdm"
[budget]
steps = 3
equal = ["steps"]
[selection]
metric = "accuracy"
[evaluation]
guidance = [1, 2]
per_class = 4
metrics = ["accuracy", "recall"]
[evaluation.sampling]
sampler = "euler"
steps = 1
"""


def _tiny(name: str, _: bool) -> RunSpec:
    return SPEC.model_copy(update={"recipe": name, "steps": 4})


def _replace(module: Any, **values: Any) -> None:
    for name, value in values.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, value)


def shrink() -> None:
    """Make what is slow for real images tiny, and load what every command loads.

    Tiny are the classifier of evaluations, the charts of pages, the demo's data, runs and evaluation, and the run and
    evaluation of photographs that are filled; the hours of these are not predicted.
    """
    sampling = SamplingSpec(sampler="euler", steps=2)
    evaluation = EvalSpec(guidance=(1.0,), per_class=4, sampling=sampling)
    _replace(classifier_network, _STEPS=(3, 3))
    _replace(page, draw=lambda *_: "<svg></svg>")
    _replace(
        demo,
        embedded_digits=lambda root: prepare(find("folder", Path("photos")), root / "mnist5k", 8),
        planned=_tiny,
        introduce=lambda _: None,
        evaluation=lambda _: evaluation,
    )
    evaluate_run = filling_photos.evaluate
    _replace(
        filling_photos,
        prediction=lambda *_: (),
        starting_spec=lambda *_: _tiny("auto-ccua", True),
        evaluate=lambda run, **more: evaluate_run(run, spec=evaluation, **more),
    )
    for command in COMMANDS.values():
        verb = command[:2] if command[0] in ("data", "study") else command[:1]
        with redirect_stdout(StringIO()), suppress(SystemExit):
            taildiff([*verb, "--help"])


def start(name: str, place: Path, log: Path) -> Work:
    """Start a command, which works in `place`."""
    return _start(ALL[name], place, log)


def _start(command: tuple[str, ...], place: Path, log: Path) -> Work:
    def work() -> int:
        os.chdir(place)
        return taildiff(list(command))

    return Work(work, log)


def build(world: Path, log: Path) -> None:
    """The files from which the commands start: images, a VAE, a store, and trained runs, of which two are evaluated."""
    rng = np.random.default_rng(0)
    for label, count in enumerate((9, 6, 4)):
        folder = world / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    _save_vae(world / "vae")
    (world / "spec.json").write_text(SPEC.model_dump_json())
    (world / "study.toml").write_text(STUDY)
    (world / "one.json").write_text(SPEC.model_copy(update={"steps": 4}).model_dump_json())
    for command in (
        ("data", "prepare", "folder", "photos", "--out", "store", "--size", "8"),
        *(("train", "one.json", "--data", "store", "--out", run) for run in ("run", "one", "two")),
        *(("evaluate", run, "--per-class", "6", "--guidance", "1", *FAST) for run in ("one", "two")),
    ):
        if _start(command, world, log).wait():
            raise SystemExit(f"{' '.join(command)} failed: {log.read_text()[-2000:]}")
    shutil.rmtree(world / "store" / "cache")  # of the first evaluation


def _save_vae(folder: Path) -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(**blocks, block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4).save_pretrained(folder)
