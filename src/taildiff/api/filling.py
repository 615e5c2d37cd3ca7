"""`taildiff.fill`: complete rare classes with generated images, from a run or from a bare folder of photographs."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from taildiff.api.fields import SamplingFields
from taildiff.api.progress import reporting
from taildiff.api.sampling import check_source, chosen_guidance
from taildiff.api.source import RunSource
from taildiff.data.latents import is_latents
from taildiff.data.locate import store_of
from taildiff.data.store import Store, is_store
from taildiff.device import chosen_device
from taildiff.errors import InputError
from taildiff.filling.request import Amounts, FillRequest, Layout, Originals
from taildiff.io.paths import output_folder, text_path
from taildiff.log import Progress, log, prefixed
from taildiff.run.layout import RunDir
from taildiff.sampling.folders import info_of
from taildiff.spec import SamplingSpec, parse

if TYPE_CHECKING:
    from taildiff.filling.check import CheckResult
    from taildiff.filling.fill import FillJob
    from taildiff.filling.filters import Counts
    from taildiff.sampling.generate import TrainedModel

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Filled:
    """A filled folder."""

    folder: Path
    counts: "dict[str, Counts]" = field(repr=False)
    """By class: training images, asked, drawn, rejected by each filter, admitted, missing."""
    check: "CheckResult | None" = field(default=None, repr=False)
    """Whether the images make a classifier better, where that was checked."""
    plan: tuple[str, ...] = field(default=(), repr=False)
    """Of a dry run, which draws nothing: what would be done, a line each."""

    @property
    def info(self) -> Path:
        """OUT-info, with manifest.jsonl and fill.json."""
        return info_of(self.folder)

    @property
    def notes(self) -> list[str]:
        """Why images are missing, a sentence per class."""
        from taildiff.filling.fill import reasons

        return [line for name, counts in self.counts.items() for line in reasons(name, counts)]


def fill(
    run: AnyPath,
    *,
    out: AnyPath,
    to: int | None = None,
    add: int | None = None,
    counts: Mapping[str, int] | None = None,
    balance: float | None = None,
    rare: bool = False,
    classes: Sequence[str] = (),
    originals: Originals = "auto",
    layout: Layout = "classes",
    keep_rejected: bool = False,
    force: bool = False,
    check: bool = False,
    guidance: float | None = None,
    data: AnyPath | None = None,
    vae: str | None = None,
    size: int | None = None,
    max_time: float | None = None,
    steps_of_training: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    dry_run: bool = False,
    progress: bool | Progress = False,
    command: Sequence[str] = (),
    **sampling: Unpack[SamplingFields],
) -> Filled:
    """Fill rare classes of a run's data with generated images that pass filters; the same call resumes after a kill.

    For a bare folder of photographs, one sub-folder per class, it first prepares them with a fifth held out, trains
    `auto-ccua` and evaluates it, all in OUT-work; what a call has finished, the next one reuses.

    Args:
        run: the run's folder, or one of photographs.
        out: a new folder, laid out as the photographs are: OUT/<class>/…; OUT-info beside it says what each image is.
        to: fill each class up to this many images, its training images included. One of to, add, counts and balance.
        add: add this many to each class.
        counts: fill these classes up to these numbers: `{"cat": 200, "owl": 50}`.
        balance: fill each class up to this share of the largest one.
        rare: only classes with fewer than 20 training images.
        classes: only these classes, by name.
        originals: how the training images come into the folder: `link`, `copy`, `resized` to the size of the generated
            ones, or `none`; `auto`: links where their files are found, else resized.
        layout: `classes`, or `split` for OUT/train/<class> and OUT/test/<class> with the held-out images.
        keep_rejected: keep rejected images in OUT-info/rejected.
        force: fill classes of fewer than 5 training images too.
        check: also train classifiers with and without the new images and test them on held-out ones.
        guidance: as in `sample`.
        data: where the run's store is now, if it moved.
        vae: where the VAE of a run on latents is now, if it moved.
        size: of photographs: pixels per side to train at and to generate; default: 32.
        max_time: of photographs: stop training after this many seconds in all.
        steps_of_training: of photographs: training steps; default: chosen from the data.
        batch_size: images sampled together; changes speed and memory only.
        device: `cpu`, `cuda` or `mps`; default: `cuda` where there is one, else `cpu`.
        dry_run: raise what would be refused, draw and write nothing, and return the numbers asked for, with the
            predicted hours of a folder of photographs in `plan`.
        progress: True draws a progress bar, a callback gets (stage, done, total).
        command: recorded in the run.json of a run that is trained.
        **sampling: fields of `SamplingSpec`.

    Raises:
        TaildiffError: for a request that cannot be met, a class of too few images, or something else at `out`.
    """
    amounts = Amounts(to, add, dict(counts or {}), balance, tuple(classes), rare)
    spec = parse(SamplingSpec, sampling)
    request = FillRequest(amounts, originals, layout, keep_rejected, force, spec, batch_size=batch_size)
    source, place, chosen = text_path(run, "run"), output_folder(out), chosen_device(device)
    with reporting(progress) as report:
        if is_photographs(source):
            from taildiff.api.filling_photos import check_way, train_and_evaluate, way

            _refuse({"--data": data, "--vae": vae}, f"{source} is a folder of photographs", "a run")
            plan = way(source, place, amounts, size, force, steps_of_training)
            steps = check_way(plan, request, guidance, check, chosen, max_time)
            if dry_run and steps:
                return Filled(place, plan.counts, plan=steps)
            for line in steps:
                log.info(line)
            source = plan.run if dry_run else train_and_evaluate(plan, chosen, report, max_time, command).path
            report = prefixed(report, "4/4")
        else:
            _check_run(source)
            given = {"--size": size, "--max-time": max_time, "--steps-of-training": steps_of_training}
            _refuse(given, f"{source} is a run", "photographs")
        job = fill_job(source, place, request, guidance, data)
        if dry_run:
            check_fill(job, check, vae, chosen)
            return Filled(place, job.nothing_yet, plan=tuple(_lines(job)))
        return run_job(job, check, vae, chosen, report)


def is_photographs(source: Path) -> bool:
    """Whether a path is a folder of class folders instead of a run, a store or latents."""
    return source.is_dir() and not RunDir(source).exists() and not is_store(source) and not is_latents(source)


def _check_run(source: Path) -> None:
    """`InputError` for what is neither a run nor photographs."""
    if RunDir(source).exists():
        return
    wanted = "give a run, or a folder of photographs with one sub-folder per class"
    if is_store(source) or is_latents(source):
        wanted = f"train a run on it and give that: taildiff train auto-ccua --data {source} --out runs/first"
    what = "is a file" if source.is_file() else "holds data" if source.exists() else "does not exist"
    raise InputError(f"{source} {what}; {wanted}")


def _refuse(options: Mapping[str, object], what: str, other: str) -> None:
    """`InputError` where one of these options of another kind of source was given."""
    if given := [name for name, value in options.items() if value is not None]:
        are, it = ("is", "it") if len(given) == 1 else ("are", "them")
        raise InputError(f"{what}, but {' and '.join(given)} {are} for {other}; remove {it}")


def fill_job(
    run: Path, out: Path, request: FillRequest, guidance: float | None = None, data: AnyPath | None = None
) -> "FillJob":
    """What `fill` would do, checked before anything is computed."""
    directory = RunDir(run)
    from taildiff.filling.fill import FillJob, check_out

    check_out(out)
    store = store_of(directory) if data is None else Store.open(text_path(data, "--data"))
    chosen = chosen_guidance(RunSource(directory), guidance, request.sampling).value
    return FillJob.of(directory, store, replace(request, guidance=chosen), out)


def check_fill(job: "FillJob", check: bool, vae: str | None, device: str) -> "TrainedModel":
    """The model; raises what `run_job` would raise before it draws; writes nothing."""
    from taildiff.data.verify import verify
    from taildiff.filling.check import check_possible

    verify(job.store)
    if check:
        check_possible(job)
    model = check_source(RunSource(job.run), job.request.sampling, [job.request.guidance], device, None, vae)
    job.check_place(model.weights_hash)
    return model


def _lines(job: "FillJob") -> Iterator[str]:
    """What a fill would do, for people."""
    for label in job.filled:
        yield f"{job.names[label]}: {job.split.counts[label]:,} training images, {job.asked[label]:,} to generate"
    yield f"{sum(job.asked):,} images at guidance {job.request.guidance:g}, to {job.out}"


def run_job(job: "FillJob", check: bool, vae: str | None, device: str, progress: Progress) -> Filled:
    """Do what `fill_job` planned."""
    from taildiff.evaluation.classifier import domain_classifier
    from taildiff.filling.fill import fill as fill_folder
    from taildiff.filling.fill import log_sizes
    from taildiff.filling.filters import Filters
    from taildiff.filling.manifest import read_counts, summary_of

    model = check_fill(job, check, vae, device)
    classifier = domain_classifier(job.store, progress, device)
    trusted = job.trust(classifier)
    for each in trusted:
        log.info(each.line)
    filters = Filters.of(job.store, job.split.index, classifier, progress, device)
    if not fill_folder(job, model, filters, trusted, progress):
        log.info(f"{job.out} is already filled as asked")
    size = summary_of(job.out).get("original_size")
    log_sizes(tuple(size) if size else None, job.store.meta.width, job.store.meta.height)
    result = None
    if check:
        from taildiff.filling.check import run_check

        result = run_check(job, device, progress)
    return Filled(job.out, read_counts(job.out), result)
