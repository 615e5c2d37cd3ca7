"""What a gallery shows of a run, of a folder that `taildiff fill` wrote, and of any folder of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.api.evaluation_images import evaluations_of
from taildiff.data.longtail import Groups, Split, rank
from taildiff.data.store import Store
from taildiff.errors import DataError, RunError, SpecError
from taildiff.evaluation.best_guidance import default_guidance
from taildiff.evaluation.copies import CopyFinder
from taildiff.evaluation.image_sources import open_images, open_unmatched
from taildiff.evaluation.images import ImageSequence
from taildiff.evaluation.pipeline import EvaluationsDir
from taildiff.evaluation.recognised import recognised_as
from taildiff.evaluation.table import Table
from taildiff.io.json_files import read_json
from taildiff.log import Progress
from taildiff.metrics.copies import Copies
from taildiff.reporting.gallery import REAL, Gallery, GalleryClass, Generated, Verdict
from taildiff.reporting.load import Evaluation, RunData, load
from taildiff.reporting.pictures import Uint8s
from taildiff.run.layout import RunDir, in_order
from taildiff.sampling.folders import folder_names
from taildiff.sampling.generate import ranks_of

RECOGNISED = Verdict("recognised", "recognised as its class", True)
OTHER = Verdict("other", "taken for another class", False)
NEW = Verdict("new", "no copy", True)
COPY = Verdict("copy", "copy of a training image", False)


@dataclass(frozen=True, eq=False)
class Real:
    """The real images beside the generated ones, those at `trained` first of all."""

    store: Store
    trained: NDArray[np.intp]
    """Positions in the store, ascending."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images per class."""
        labels = np.asarray(self.store.labels)[self.trained]
        return tuple(np.bincount(labels, minlength=len(self.store.meta.class_names)).tolist())

    def of_class(self, label: int) -> tuple[int, ...]:
        """Positions of the first training images of a class."""
        return tuple(self.trained[np.asarray(self.store.labels)[self.trained] == label][:REAL].tolist())

    def image(self, number: int) -> Uint8s:
        """An image (H, W, C)."""
        return np.asarray(self.store.images[number])

    def name(self, number: int) -> str:
        """Its file, or its class and position."""
        if self.store.names:
            return self.store.names[number]
        return f"{self.store.meta.class_names[int(self.store.labels[number])]}, image {number} of the store"

    def finder(self) -> CopyFinder | None:
        """Finds the nearest training images; None with fewer than two."""
        return CopyFinder.of(self.store, self.trained) if len(self.trained) > 1 else None


@dataclass(frozen=True, eq=False)
class Set:
    """Generated images (M, H, W, C) of one guidance."""

    images: ImageSequence
    labels: NDArray[np.int64]
    names: Sequence[str]
    guidance: float | None = None

    def picture(self, place: int) -> Uint8s:
        """An image (H, W, C)."""
        return self.images[place : place + 1][0]

    def judged(
        self, label: int, names: Sequence[str], near: Copies | None, seen: NDArray[np.int64] | None
    ) -> Iterator[Generated]:
        """The images of one class with what is known about them."""
        for place in np.flatnonzero(self.labels == label).tolist():
            verdicts, note = [], ""
            if seen is not None:
                verdicts.append(RECOGNISED if seen[place] == label else OTHER)
                note = "" if seen[place] == label else f"seen as {names[seen[place]]}"
            if near is not None:
                verdicts.append(COPY if near.copied[place] else NEW)
            yield Generated(
                partial(self.picture, place),
                self.names[place],
                self.guidance,
                tuple(verdicts),
                note,
                None if near is None else int(near.nearest[place]),
                None if near is None else float(near.distance[place]),
                None if near is None else float(near.ratio[place]),
            )


def chosen(gallery: Gallery, title: str | None, per_class: int | None) -> Gallery:
    """The gallery with another title and at most `per_class` images per class and guidance."""
    if per_class is not None:
        gallery = gallery.first(per_class)
    return gallery if title is None else replace(gallery, title=title)


def of_run(run: RunDir, data: Path | None, progress: Progress) -> Gallery:
    """The images of a run's evaluations at its newest evaluated step, one set per guidance."""
    (known,) = load([run]).runs
    sets = list(_sampled(known))
    if not sets:
        raise RunError(
            f"{run.root} has no generated images to show; make some: taildiff evaluate {run.root} --guidance 1,1.5,2"
        )
    notes, real = [], None
    try:
        store = known.info.store
        opened = Store.open(data) if data else Store.at_recorded(store.path, store.hash)
        split = Split.load(run.split)
        if split.store_hash != opened.meta.hash:
            raise DataError(f"{opened.root} is not the store that {run.root} was trained on")
        real = Real(opened, np.sort(split.index))
    except DataError as error:
        if data:
            raise
        notes.append(f"The real images are not shown ({error}); name their store with --data.")
    facts = known.info.facts
    steps = {known.evaluation.table.definition.step} if known.evaluation else set()
    lead = (
        f"{sum(len(each.labels) for each in sets)} images by {known.name} at step {max(steps, default=0)}, sampled at "
        f"guidance {', '.join(f'{each.guidance:g}' for each in sets)}; {facts.classes} classes, trained on "
        f"{max(known.counts)} to {min(known.counts)} images each."
    )
    classes = _classes(facts.class_names, known.counts, sets, real, EvaluationsDir(run.evals), notes, progress)
    best = default_guidance(run).value
    start = best if any(each.guidance == best for each in sets) and len(sets) > 1 else None
    return _gallery(f"Images of {known.name}", lead, classes, real, notes, start)


def _sampled(known: RunData) -> Iterator[Set]:
    """The images at each guidance, of the newest evaluation that kept some, at the newest evaluated step."""
    seen: set[float] = set()
    for folder in reversed([*known.run.evaluations()]):
        evaluation = Evaluation(folder, Table.read(folder))
        of_folder = replace(known, evaluation=evaluation)
        assert known.evaluation
        if evaluation.table.definition.weights_hash != known.evaluation.table.definition.weights_hash:
            continue
        for guidance in evaluation.table.guidances:
            if guidance not in seen and (found := of_folder.images(guidance)):
                seen.add(guidance)
                images, labels = found
                labels = labels.astype(np.int64)
                names = [f"image {place} of its class" for place in (ranks_of(labels) + 1).tolist()]
                yield Set(images, labels, names, guidance)


def _classes(
    names: Sequence[str],
    counts: Sequence[int],
    sets: Sequence[Set],
    real: Real | None,
    home: EvaluationsDir,
    notes: list[str],
    progress: Progress,
) -> tuple[GalleryClass, ...]:
    """Classes from the commonest to the rarest, with their images judged as far as possible."""
    finder = real.finder() if real else None
    near = [finder.measure(each.images, each.labels) if finder else None for each in sets]
    seen = [recognised_as(real.store, s.images, s.labels, home.cache, progress) if real else None for s in sets]
    if finder and not np.isnan(finder.rule.threshold):
        notes.append(
            f"A copy is nearer to a training image than any real image is: below {finder.rule.threshold:.2f} of the "
            f"usual distance of its class (from {finder.rule.known_from})."
        )
    if real and any(each is None for each in seen):
        notes.append("Which class an image shows is not judged: no evaluation has trained the classifier yet.")
    groups = Groups.thirds(counts) if len(set(counts)) > 1 else None

    def of(label: int) -> GalleryClass:
        sides = zip(sets, near, seen, strict=True)
        made = tuple(image for each, closest, own in sides for image in each.judged(label, names, closest, own))
        real_ones = real.of_class(label) if real else ()
        return GalleryClass(names[label], int(counts[label]), groups.of(label) if groups else "", real_ones, made)

    return tuple(map(of, rank(counts).tolist()))


def _gallery(
    title: str,
    lead: str,
    classes: tuple[GalleryClass, ...],
    real: Real | None,
    notes: Sequence[str],
    guidance: float | None = None,
) -> Gallery:
    return Gallery(title, lead, classes, *real_side(real), tuple(notes), guidance)


def real_side(real: Real | None) -> tuple[Callable[[int], Uint8s], Callable[[int], str]]:
    """What reads and names a real image of a gallery."""
    return (_none, str) if real is None else (real.image, real.name)


def _none(number: int) -> Uint8s:
    raise AssertionError(f"there is no real image {number}")


def of_images(path: Path, data: Path | None, progress: Progress) -> Gallery:
    """Images from any source, beside those of `data` or of the store that their evaluation records."""
    home, notes, name = EvaluationsDir(evaluations_of(path)), [], path.resolve().name
    store = Store.open(data) if data else recorded_store(home)
    if store is None:
        source = open_unmatched(path, home.cache, progress)
        names, counts = source.store.meta.class_names, np.bincount(source.labels).tolist()
        made = Set(source.store.images, source.labels, _names(source.store, np.arange(len(source.labels))))
        notes.append(f"Real images are not known; to show them: taildiff gallery {path} --data STORE.")
        classes = _classes(names, counts, [made], None, home, notes, progress)
        classes = tuple(replace(each, count=0, group="") for each in classes)
        return _gallery(
            f"Images in {name}", f"{len(made.labels)} images of {len(names)} classes.", classes, None, notes
        )
    names = store.meta.class_names
    source = open_images(path, store, folder_names(names), home.cache, progress)
    everything = np.arange(len(source.labels))
    images = source.images(everything, store.meta.channels)
    made, real = Set(images, source.labels, _names(source.store, everything)), Real(store, store.train_index)
    classes = _classes(names, real.counts, [made], real, home, notes, progress)
    notes += [f"{note[:1].upper()}{note[1:]}." for note in source.notes]
    lead = (
        f"{len(made.labels)} images of {len(np.unique(made.labels))} classes, beside {len(real.trained)} real ones of "
        f"{store.meta.name or store.root.name}."
    )
    return _gallery(f"Images in {name}", lead, classes, real, notes)


def _names(store: Store, index: NDArray[np.intp]) -> list[str]:
    names = store.names
    return [names[i] if names else f"image {i}" for i in index.tolist()]


def recorded_store(home: EvaluationsDir) -> Store | None:
    """The real images that the newest evaluation of a folder was made with, if they are still where they were."""
    for folder in reversed(in_order(home.root.glob("*/table.json"))):
        try:
            values = read_json(folder.sources)["real"]
            return Store.at_recorded(str(values["path"]), str(values["hash"]))
        except (SpecError, DataError, KeyError, TypeError):
            continue
    return None
