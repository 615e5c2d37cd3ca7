"""Judge a run: sample each class equally often at every guidance, and hold the images against the real ones.

    weights ──generate──▶ 8-bit images ──features──▶ accuracy, Fréchet, precision, recall ──▶ table.csv, table.json

The folder `evals/<definition>/` is named after everything that makes two runs' numbers comparable. What is in it is
used again only where the weights are the same too, so an interrupted evaluation goes on and a finished one is returned.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.longtail import FEWEST_REAL, Split
from taildiff.data.store import Store
from taildiff.errors import RunError
from taildiff.evaluation.features import DomainClassifier, Hits, Images, domain_classifier, domain_hash
from taildiff.evaluation.generate import Model, generate, load_model
from taildiff.evaluation.measure import Number, numbers, share
from taildiff.evaluation.pools import Pool, Reference, Scope, reference, scopes
from taildiff.evaluation.table import Definition, ExtractorRecord, Metric, Row, Table
from taildiff.progress import Progress, silent
from taildiff.runs import NPZ_DAMAGE, EvalDir, RunDir, write_atomic
from taildiff.spec import DataFacts, EvalSpec, flatten

Labels = NDArray[np.int64]
VERSION = 1  # raise it with every change that changes numbers


def evaluate(run: RunDir, store: Store, spec: EvalSpec, progress: Progress = silent, device: str = "cpu") -> EvalDir:
    """Judge the newest weights of a run against the real images of a store; gives the folder with the table.

    Raises `RunError` when the run has no weights or those of another run, or the store is not that of the run.
    """
    model = load_model(run, spec.sampling.weights, device)
    _check_weights(run, model, spec.sampling.weights)
    notes = _check_store(run, store, model.facts)
    definition = define(run, store, spec, model)
    folder = run.evaluation(definition.name)
    if finished(folder, definition):
        return folder
    chosen = reference(store, spec.reference)
    folder.table_json.unlink(missing_ok=True)  # of other weights: its images are about to be replaced
    judge = domain_classifier(store, progress, device)
    real, about_real = _real(store, chosen, judge, progress)
    rows = list(_judged(judge.hits, definition))
    for guidance in spec.guidance:
        images, labels = _images(run, folder, model, spec, guidance, progress)
        generated = Pool.interleaved(
            judge.features(images, _as(progress, f"features at guidance {guidance:g}")), labels
        )
        rows += _compared(real, generated, judge, definition, guidance)
    notes = (*notes, *judge.notes, *about_real, *_missing(rows, judge.dim))
    Table(tuple(rows), definition, notes).write(folder)
    return folder


def define(run: RunDir, store: Store, spec: EvalSpec, model: Model) -> Definition:
    """Everything the numbers depend on; the name's hash leaves the weights out, so that runs can be compared by it."""
    extractor = ExtractorRecord(name=spec.features, dim=DomainClassifier.dim, hash=domain_hash(store.meta.hash))
    sampling = spec.sampling
    digest = _digest(VERSION, spec.model_dump(mode="json"), store.meta.hash, extractor.hash)[:8]
    parts = [spec.features, f"{sampling.sampler}{sampling.steps}", f"n{spec.per_class}", f"seed{sampling.seed}"]
    return Definition(
        name="-".join([*parts, f"step{model.step}", digest]),
        run=run.root.resolve().name,
        step=model.step,
        spec=spec,
        weights_hash=model.weights_hash,
        store_hash=store.meta.hash,
        extractor=extractor,
        class_names=model.facts.class_names,
        counts=Split.load(run.split).counts,
    )


def finished(folder: EvalDir, definition: Definition) -> bool:
    """Whether a table of just this definition, weights and all, is there; a damaged one does not count."""
    if not folder.table_json.is_file():
        return False
    try:
        return Table.read(folder).definition == definition
    except RunError:
        return False


def _check_weights(run: RunDir, model: Model, kind: str) -> None:
    """Weights that were copied from elsewhere would be judged under this run's name."""
    info = run.info()
    later = {name: getattr(info.spec, name) for name in ("every", "devices", "compile", "steps")}  # may change
    same_data = model.facts.model_copy(update={"name": info.facts.name}) == info.facts
    if not (same_data and model.spec.model_copy(update=later) == info.spec):
        have, want = flatten(model.spec.model_dump()), flatten(info.spec.model_dump())
        differ = [name for name in want if have.get(name) != want[name] and name.split(".")[0] not in later]
        what = f"other settings ({', '.join(differ[:5])})" if differ else "other data"
        raise RunError(
            f"{run.weights(model.step, kind)} is not of this run: {run.spec} has {what}. "
            "Remove the file, or put it back into the run that it is from"
        )


def _check_store(run: RunDir, store: Store, facts: DataFacts) -> list[str]:
    if run.info().store.hash == store.meta.hash:
        return []
    have, want = store.facts, facts
    same = all(getattr(have, name) == getattr(want, name) for name in ("height", "width", "channels", "class_names"))
    if not same:
        raise RunError(
            f"{store.root} is not the store of {run.root}: {_shape(have)}, the run has {_shape(want)}. "
            "Name the right one with --data"
        )
    return [f"the reference is not the store that the run was trained on, though classes and size agree: {store.root}"]


def _shape(facts: DataFacts) -> str:
    names = ", ".join(facts.class_names[:3])
    return f"{facts.classes} classes ({names} …) of {facts.height}x{facts.width}x{facts.channels}"


def _real(store: Store, chosen: Reference, judge: DomainClassifier, progress: Progress) -> tuple[Pool, list[str]]:
    in_order = np.sort(chosen.index)  # a mapped file is read from front to back
    features = judge.features(store.images[in_order], _as(progress, "features of the real images"))
    place = np.searchsorted(in_order, chosen.index)
    return Pool(features[place], store.labels[chosen.index]), [chosen.note] if chosen.note else []


def _images(
    run: RunDir, folder: EvalDir, model: Model, spec: EvalSpec, guidance: float, progress: Progress
) -> tuple[Images, Labels]:
    """Generated images (C per_class, H, W, C) and labels, class after class; kept ones where there are."""
    labels = np.repeat(np.arange(model.facts.classes), spec.per_class)
    key = _digest(model.weights_hash, spec.sampling.model_dump(mode="json"), guidance, spec.per_class)
    own = folder.images(guidance)
    images = _read_images(own, key, labels)
    if images is not None:
        return images, labels
    for path in sorted(run.evals.glob(f"*/{own.name}")):
        images = _read_images(path, key, labels)
        if images is not None:
            break
    if images is None:
        images = generate(model, labels, spec.sampling, guidance, progress=progress)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=images, labels=labels, key=np.array(key))
    write_atomic(own, buffer.getvalue())
    return images, labels


def _read_images(path: Path, key: str, labels: np.ndarray) -> Images | None:
    """Images made with just these weights and settings; None when there are none, or the file is damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if str(file["key"]) == key and np.array_equal(file["labels"], labels):
                return file["images"]
    except NPZ_DAMAGE:
        return None
    return None


def _compared(
    real: Pool, generated: Pool, judge: DomainClassifier, definition: Definition, guidance: float
) -> Iterator[Row]:
    for scope in scopes(definition.counts, definition.class_names):
        part = generated.of(scope.labels)
        for number in numbers(real.of(scope.labels), part, judge.predict(part.features), definition.spec.k):
            yield _row(definition, guidance, scope, number)


def _judged(hits: Hits, definition: Definition) -> Iterator[Row]:
    for scope in scopes(definition.counts, definition.class_names):
        right = sum(hits.correct[label] for label in scope.labels)
        total = sum(hits.total[label] for label in scope.labels)
        none = Number("judge_accuracy", None, total, 0)
        yield _row(definition, None, scope, share("judge_accuracy", right / total, total, total, 0) if total else none)


def _row(definition: Definition, guidance: float | None, scope: Scope, number: Number) -> Row:
    sampling = definition.spec.sampling
    return Row(
        run=definition.run,
        step=definition.step,
        metric=number.metric,
        group=scope.group,
        class_name=scope.class_name,
        value=number.value,
        low=number.low,
        high=number.high,
        n_real=number.n_real,
        n_generated=number.n_generated,
        sampler=sampling.sampler,
        steps=sampling.steps,
        guidance=guidance,
        ema=sampling.weights == "ema",
        seed=sampling.seed,
        definition=definition.name,
    )


def _missing(rows: Sequence[Row], dim: int) -> Iterator[str]:
    """Why some values are not there."""

    def without(metric: Metric) -> dict[str, None]:
        empty = (row for row in rows if row.metric == metric and row.value is None)
        return dict.fromkeys(row.class_name or row.group for row in empty)

    few, singular, sparse = without("accuracy"), without("frechet"), without("recall")
    if few:
        yield f"fewer than {FEWEST_REAL} real images, so no values: {', '.join(few)}"
    if rest := [name for name in singular if name not in few]:
        yield f"a Fréchet distance needs more than {dim} real and generated images, so none: {', '.join(rest)}"
    if rest := [name for name in sparse if name not in few]:
        yield f"precision and recall need more images than their k, so none: {', '.join(rest)}"


def _as(progress: Progress, stage: str) -> Progress:
    return lambda _, done, total: progress(stage, done, total)


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
