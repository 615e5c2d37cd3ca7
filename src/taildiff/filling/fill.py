"""Fill: draw, filter, and write the folder, which appears as a whole or not at all.

    .OUT.partial/drawn      what is drawn, until OUT is finished; the next process continues there
    .OUT.partial/finished   the folder, written anew by each process; renamed to OUT at the end
    .OUT.partial/info       the same for OUT-info

Images depend on seed, class and rank alone and are decided in the order of ranks, so a fill that was killed at any
moment and run again gives the same folder.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.evaluation.classifier import DomainClassifier
from taildiff.filling.draw import Drawing
from taildiff.filling.filters import ClassFilter, Counts, Filters, Verdict, reference_note
from taildiff.filling.manifest import (
    MANIFEST,
    REJECTED,
    SUMMARY,
    Entry,
    Origin,
    finished_key,
    summary_of,
    write_manifest,
    write_summary,
)
from taildiff.filling.names import Names, generated_name, warn_of_splits
from taildiff.filling.originals import Photographs
from taildiff.filling.request import FillRequest, check_few
from taildiff.filling.trust import Trust, trust
from taildiff.io.checksum import json_sha256
from taildiff.io.paths import check_folder
from taildiff.io.png import GENERATED, png
from taildiff.io.staging import one_writer, partial, put_back, replace, sweep
from taildiff.log import Progress, log, silent
from taildiff.run.layout import RunDir
from taildiff.sampling.folders import folder_names, info_of
from taildiff.sampling.generate import TrainedModel
from taildiff.sampling.predicting import Predicting

VERSION = 1  # raise it with every change of what is admitted or written


@dataclass(frozen=True, eq=False)
class FillJob:
    """One fill: the run, its data, and what was asked."""

    run: RunDir
    store: Store
    split: Split
    request: FillRequest
    out: Path

    @classmethod
    def of(cls, run: RunDir, store: Store, request: FillRequest, out: Path) -> "FillJob":
        """The job, checked before anything is computed; `InputError` for one that cannot be done."""
        split = Split.load(run.split)
        if split.store_hash != store.meta.hash:
            raise InputError(f"{store.root} is not the store that {run.root} was trained on; give that with --data")
        job = cls(run, store, split, request, out)
        check_few(job.asked, split.counts, job.names, request.force)
        return job

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.store.meta.class_names

    @cached_property
    def asked(self) -> tuple[int, ...]:
        """Images to admit of each class (C,)."""
        return self.request.amounts.asked(self.split.counts, self.names)

    @property
    def filled(self) -> list[int]:
        """Labels of the classes that get images."""
        return [label for label, n in enumerate(self.asked) if n]

    def key(self, weights_hash: str, classifier_hash: str) -> str:
        """Everything that decides the folder."""
        request = self.request
        wanted = [list(self.asked), request.originals, request.layout, request.keep_rejected, request.guidance]
        made_by = [weights_hash, classifier_hash, self.store.meta.hash, self.split.hash]
        return json_sha256([VERSION, *made_by, *wanted, request.sampling.model_dump(mode="json")])

    @cached_property
    def originals(self) -> NDArray[np.intp]:
        """Positions in the store of the photographs that come into the folder, training images first."""
        held_out = self.store.test_index if self.request.layout == "split" else np.empty(0, np.intp)
        return np.concatenate([np.sort(self.split.index), held_out])

    @cached_property
    def photographs(self) -> Photographs:
        """Their files; `InputError` where they are asked for and are not found."""
        return Photographs.find(self.store, self.originals.tolist(), self.request.originals, self.out)

    def check_place(self, weights_hash: str) -> None:
        """`InputError` where OUT was filled by another request or model, or files of originals are not found.

        The classifier is taken for that of OUT. `OSError` where OUT cannot be written.
        """
        if done := finished_key(self.out):
            if done != self.key(weights_hash, str(summary_of(self.out).get("classifier"))):
                raise self.other()
            return
        check_folder(self.out)
        if self.request.originals in ("link", "copy"):
            _ = self.photographs  # raises

    def other(self) -> InputError:
        """OUT holds another fill."""
        return InputError(f"{self.out} was filled by another request, model or filter; choose a new --out")

    @property
    def nothing_yet(self) -> dict[str, Counts]:
        """What is asked for, by class, before anything is drawn."""
        return {self.names[k]: Counts.of((), self.asked[k], self.split.counts[k]) for k in self.filled}

    def trust(self, classifier: DomainClassifier) -> list[Trust]:
        """One line per class to fill."""
        return [trust(self.names[k], k, self.split.counts[k], classifier.accuracy) for k in self.filled]


def check_out(out: Path) -> None:
    """`InputError` where OUT or OUT-info holds something else than an earlier fill, or nothing."""
    put_back(out)
    info = info_of(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and finished_key(out) is None:
        raise InputError(f"{out} exists already and is not a filled folder; choose a new --out")
    if info.exists() and (not info.is_dir() or (any(info.iterdir()) and not (info / SUMMARY).is_file())):
        raise InputError(f"{info} exists already and is not of a fill; choose another --out, or remove it")


def fill(
    job: FillJob, model: TrainedModel, filters: Filters, trusted: Sequence[Trust], progress: Progress = silent
) -> bool:
    """Write OUT and OUT-info; False where exactly this fill was finished before.

    `InputError` where another fill is there. One process at a time; another one waits.
    """
    key = job.key(model.weights_hash, filters.classifier.hash)
    with one_writer(job.out):
        sweep(job.out)
        sweep(info_of(job.out))
        check_out(job.out)
        if done := finished_key(job.out):
            if done != key:
                raise job.other()
            shutil.rmtree(partial(job.out), ignore_errors=True)
            return False
        _Writing(job, model, filters, trusted, key, progress).run()
    return True


@dataclass(eq=False)
class _Writing:
    job: FillJob
    model: TrainedModel
    filters: Filters
    trusted: Sequence[Trust]
    key: str
    progress: Progress

    def __post_init__(self) -> None:
        job, request = self.job, self.job.request
        self.home = partial(job.out)
        self.folder, self.info = self.home / "finished", self.home / "info"
        drawn = [
            self.model.weights_hash,
            request.guidance,
            request.sampling.model_dump(mode="json"),
            request.batch_size,
        ]
        key = json_sha256(drawn)
        where = self.home / "drawn"
        predicting = Predicting(self.model, request.sampling, request.guidance)
        self.drawing, self.scales = Drawing(predicting, where, key, request.batch_size), predicting.scales
        self.origin = Origin(
            job.run.root.resolve().name, self.model.step, self.model.weights_hash, request.sampling.seed
        )
        self.folders = folder_names(job.names)
        self.names = Names()
        self.counts: dict[str, Counts] = {}
        self.lines: list[str] = []

    def run(self) -> None:
        job = self.job
        for place in (self.folder, self.info):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        photographs = self._write_originals()
        for label in job.filled:
            self._fill_class(label)
        self._write_info(photographs)
        replace(self.info, info_of(job.out))
        self.folder.rename(job.out)  # on an empty folder that the user made, too
        shutil.rmtree(self.home, ignore_errors=True)

    def _write_originals(self) -> Photographs:
        job, split = self.job, self.job.request.layout == "split"
        photographs, trained = job.photographs, len(job.split.index)
        warn_of_splits(self.folders)
        for part, positions in (("train", job.originals[:trained]), ("test", job.originals[trained:])):
            for label in range(len(job.names)) if len(positions) else ():
                own = positions[np.asarray(job.store.labels)[positions] == label]
                if (len(own) and photographs.how != "none") or (part == "train" and job.asked[label]):
                    shown = f"{part}/{self.folders[label]}" if split else self.folders[label]
                    (self.folder / shown).mkdir(parents=True)
                    photographs.write(self.folder / shown, shown, own, self.names)
                self.progress(f"originals, {part}", label + 1, len(job.names))
        return photographs

    def _fill_class(self, label: int) -> None:
        """Draw and decide until there are as many as asked, or the limit of draws is reached."""
        asked, decide = self.job.asked[label], ClassFilter(self.filters, label)
        verdicts: list[Verdict] = []
        admitted, stage = 0, f"filling {self.job.names[label]}"
        limit = self.drawing.next_stop
        while admitted < asked and (stop := limit(len(verdicts), admitted, asked)) > len(verdicts):
            start = len(verdicts)
            images = self.drawing.images(label, start, stop)
            found = decide.decide(images, start, asked - admitted)
            for image, verdict in zip(images, found, strict=False):
                self._write(image, verdict, label)
            verdicts += found
            admitted += sum(verdict.admitted for verdict in found)
            self.progress(stage, admitted, asked)
        self.counts[self.job.names[label]] = Counts.of(verdicts, asked, self.job.split.counts[label])

    def _write(self, image: NDArray[np.uint8], verdict: Verdict, label: int) -> None:
        name = generated_name(self.origin.weights, self.origin.seed, verdict.rank)
        file, base = None, self.folder
        if verdict.admitted:
            part = "train/" if self.job.request.layout == "split" else ""
            file = f"{part}{self.folders[label]}/{name}"
        elif self.job.request.keep_rejected:
            file, base = f"{REJECTED}/{self.folders[label]}/{name}", self.info
        if file is not None:
            (base / file).parent.mkdir(parents=True, exist_ok=True)
            (base / file).write_bytes(png(image, GENERATED))
        guidance = self.scales.get(label, self.job.request.guidance)
        self.lines.append(Entry(verdict, label, guidance, file).line(self.job.store, self.origin))

    def _write_info(self, photographs: Photographs) -> None:
        job, thresholds, rule = self.job, self.filters.thresholds, self.filters.copies.rule
        write_manifest(self.info, self.lines)
        values = {
            "taildiff": version("taildiff"),
            **asdict(self.origin),
            "guidance": job.request.guidance,
            "sampling": job.request.sampling.model_dump(mode="json"),
            "store": job.store.meta.hash,
            "store_path": str(job.store.root.resolve()),  # these two only tell a gallery where to look
            "run_path": str(job.run.root.resolve()),
            "classifier": self.filters.classifier.hash,
            "layout": job.request.layout,
            "originals": photographs.how,
            "original_size": photographs.median_size(),
            "generated_size": [job.store.meta.width, job.store.meta.height],
            "filters": reference_note(self.filters),
            "copy_threshold": None if np.isnan(rule.threshold) else rule.threshold,
            "classes": {name: self._class_summary(name, counts) for name, counts in self.counts.items()},
            "class_thresholds": {job.names[k]: float(thresholds.least[k]) for k in job.filled},
            "pooled": [job.names[k] for k in job.filled if thresholds.pooled[k]],
            "manifest": MANIFEST,
        }
        write_summary(self.info, self.key, values)

    def _class_summary(self, name: str, counts: Counts) -> dict[str, object]:
        lines = {each.name: each.line for each in self.trusted}
        return {**asdict(counts), "missing": counts.missing, "trust": lines[name]}


def reasons(name: str, counts: Counts) -> Iterator[str]:
    """Why images of a class are missing, in a sentence."""
    if counts.missing and counts.drawn:
        parts = [f"{n} {_REASONS[each]}" for each, n in counts.rejected.items() if n]
        yield (
            f"{name}: {counts.missing} of {counts.asked} are missing after {counts.drawn} draws: {', '.join(parts)}. "
            "Train longer, try another --guidance, or ask for fewer"
        )


_REASONS = {
    "copy": "were copies of training images",
    "class": "did not look like the class to the classifier",
    "repeat": "repeated an earlier one",
}


def log_sizes(photographs_size: tuple[int, int] | None, width: int, height: int) -> None:
    """Warn of small generated pictures among large photographs."""
    if photographs_size and min(photographs_size) > min(width, height):
        large = "×".join(map(str, photographs_size))
        log.warning(
            f"the originals have {large} pixels (median), the generated images {width}×{height}: a classifier may "
            "learn that rare classes are blurred; --originals resized gives all images one size"
        )
