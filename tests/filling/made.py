"""A store, a run with an untrained network, and a classifier that knows nothing, for filling without training."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from evaluation import tiny
from taildiff.data.formats.folder import find_folder
from taildiff.data.holdout import HoldOut
from taildiff.data.prepare import prepare
from taildiff.data.store import Store
from taildiff.evaluation.copies import CopyFinder
from taildiff.filling.fill import FillJob, fill
from taildiff.filling.filters import ClassThresholds, Filters
from taildiff.filling.request import Amounts, FillRequest
from taildiff.filling.trust import Trust
from taildiff.sampling.generate import load_model
from taildiff.spec import SamplingSpec

QUICK = SamplingSpec(sampler="euler", steps=1)


def photographs(root: Path, counts: dict[str, int], size: int = 16, seed: int = 0) -> Path:
    """Smooth random pictures as PNG files, by class."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            rng = np.random.default_rng([seed, label, k])
            small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            small.resize((size, size), Image.Resampling.BICUBIC).save(root / name / f"{k:03d}.png")
    return root


def prepared(root: Path, counts: dict[str, int], size: int = 8, hold_out: float | None = 0.2) -> Store:
    """A store of such photographs, held out in part."""
    held = HoldOut(hold_out) if hold_out else None
    return prepare(find_folder(photographs(root / "photos", counts)), root / "store", size, hold_out=held, workers=1)


class Guesser:
    """Probabilities by the hash of an image: the same for the same image, of any class."""

    hash = "guesser"

    def __init__(self, classes: int):
        self.classes = classes

    def features(self, images, progress=None):
        digests = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images[:]]
        return np.array([list(digest[: self.classes]) for digest in digests], np.float32).reshape(-1, self.classes)

    def probabilities(self, features, /):
        return (features + 1) / (features + 1).sum(axis=1, keepdims=True)


class Filling:
    """Everything of a fill but OUT."""

    def __init__(self, root: Path, counts: dict[str, int], **request):
        self.store = prepared(root, counts)
        self.run = tiny.make_run(root / "run", self.store)
        self.model = load_model(self.run)
        self.request = request

    def job(self, out: Path, **more) -> FillJob:
        values = {"amounts": Amounts(to=9), "sampling": QUICK, **self.request, **more}
        return FillJob.of(self.run, self.store, FillRequest(**values), out)

    def filters(self, job: FillJob, least: float = 0.2) -> Filters:
        classes = len(self.store.meta.class_names)
        thresholds = ClassThresholds(np.full(classes, least), np.ones(classes, bool), "held-out images")
        return Filters(Guesser(classes), thresholds, CopyFinder.of(self.store, job.split.index))

    def into(self, out: Path, least: float = 0.2, **more) -> bool:
        job = self.job(out, **more)
        trusted = [Trust(job.names[k], job.split.counts[k], 1, 2) for k in job.filled]
        return fill(job, self.model, self.filters(job, least), trusted)


def content(*roots: Path) -> dict[str, str]:
    """What is in folders: links with their targets, files with their hashes."""
    found: dict[str, str] = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            name = f"{root.name}/{path.relative_to(root)}"
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
