"""The evaluation of existing images: opened, checked, measured, and recorded."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.errors import SpecError
from taildiff.io.atomic import write_json
from taildiff.io.json_files import read_json
from taildiff.log import Progress, silent
from taildiff.run.layout import EvalDir, RunDir
from taildiff.sampling.folders import folder_names
from taildiff.spec import EvalSpec

if TYPE_CHECKING:
    from taildiff.evaluation.image_sets import TrainingImages
    from taildiff.evaluation.image_sources import ImageSource
    from taildiff.metrics import GaussianStatistics


@dataclass(frozen=True)
class ImagesRequest:
    """Existing images to evaluate."""

    source: Path
    spec: EvalSpec
    data: Path | None
    trained_on: Path | None
    out: Path

    def run(self, progress: Progress, device: str) -> EvalDir:
        """Evaluate; the folder of the finished evaluation."""
        from taildiff.evaluation.image_sets import evaluate_images, evaluate_statistics
        from taildiff.evaluation.pipeline import EvaluationsDir

        home = EvaluationsDir(self.out)
        if (moments := self._statistics()) is not None:
            images = self._unmatched(home.cache, progress)
            return evaluate_statistics(images, moments, self.spec, home, progress, device)
        # beside the real images, so that their classifier is trained once, whatever it evaluates
        real, images, trained = self._opened(EvaluationsDir(evaluations_of(self._data)).cache, home.cache, progress)
        folder = evaluate_images(images, real, self.spec, home, trained, progress, device)
        _record_sources(folder, real, images)
        return folder

    def check(self, device: str) -> None:
        """Raise what `run` would raise before it measures; images are decoded in a temporary folder."""
        from taildiff.evaluation.image_sets import check_images, statistics_network

        moments = self._statistics()
        with tempfile.TemporaryDirectory(prefix="taildiff-") as place:
            if moments is not None:
                statistics_network(self._unmatched(Path(place), silent), moments, self.spec, device=device)
                return
            real, images, trained = self._opened(Path(place, "real"), Path(place, "images"), silent)
            check_images(images, real, self.spec, trained, device)

    @property
    def _data(self) -> Path:
        if self.data is None:
            raise SpecError(f"give the real images to compare {self.source} with: --data STORE, FOLDER or NPZ")
        return self.data

    def _statistics(self) -> "GaussianStatistics | None":
        """The reference, if it is a file of statistics."""
        from taildiff.evaluation.image_sources import is_npz, read_statistics

        return read_statistics(self._data) if is_npz(self._data) else None

    def _unmatched(self, cache: Path, progress: Progress) -> "ImageSource":
        from taildiff.evaluation.image_sources import open_unmatched

        return open_unmatched(self.source, cache, progress)

    def _opened(
        self, real_cache: Path, cache: Path, progress: Progress
    ) -> tuple[Store, "ImageSource", "TrainingImages | None"]:
        """The real images, those to evaluate, and those trained on, if they are known."""
        from taildiff.evaluation.image_sets import TrainingImages
        from taildiff.evaluation.image_sources import open_images, open_reference

        real, notes = open_reference(self._data, real_cache, progress)
        images = open_images(self.source, real, folder_names(real.meta.class_names), cache, progress)
        images = replace(images, notes=(*notes, *images.notes))
        trained = None
        if self.trained_on:
            trained = TrainingImages(*training_images(self.trained_on, real, cache, progress))
        return real, images, trained


def evaluations_of(source: Path) -> Path:
    """Where evaluations of a folder or file go: beside it."""
    path = source.resolve()
    return path.with_name(f"{path.name}-evals")


def _record_sources(folder: EvalDir, real: Store, images: "ImageSource") -> None:
    """Write where the real and the decoded images are, for reports and galleries, unless it stands there."""
    own = images.store
    of_own = {int(label): int(to) for label, to in zip(np.asarray(own.labels), images.labels, strict=True)}
    values = {
        "real": {"path": str(real.root.resolve()), "hash": real.meta.hash},
        "images": {
            "path": str(own.root.resolve()),
            "hash": own.meta.hash,
            "labels": [of_own.get(label, -1) for label in range(len(own.meta.class_names))],
        },
    }
    try:
        known = read_json(folder.sources)
    except SpecError:
        known = None
    if known != values:
        write_json(folder.sources, values)


def training_images(
    path: Path, real: Store, cache: Path, progress: Progress
) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Training images per class, and their positions in the reference's store where these are known."""
    from taildiff.evaluation.image_sources import open_images

    run, classes = RunDir(path), real.meta.class_names
    if run.exists():
        split = Split.load(run.split)
        if len(split.counts) != len(classes):
            raise SpecError(f"--trained-on {path}: {len(split.counts)} classes, the real images have {len(classes)}")
        return split.counts, split.index if split.store_hash == real.meta.hash else None
    images = open_images(path, real, folder_names(classes), cache, progress)
    counts = np.bincount(images.labels[~np.asarray(images.store.test)], minlength=len(classes))
    same = images.store.meta.hash == real.meta.hash
    return tuple(counts.tolist()), images.store.train_index if same else None
