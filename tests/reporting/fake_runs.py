"""Runs on disk as training and evaluation leave them, with made-up numbers that follow simple rules."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from taildiff.data.longtail import Groups, Split, _hash
from taildiff.evaluation.replicates import write_replicates
from taildiff.evaluation.table import Definition, ExtractorInfo, Group, Row, Table
from taildiff.io.atomic import write_json
from taildiff.metrics.intervals import wilson
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir
from taildiff.spec import ALSpec, DataFacts, DataSpec, EvalSpec, ObjectiveSpec, RunSpec, UCLSpec

COUNTS = (400, 239, 143, 86, 51, 30, 18, 11, 6, 4)
NAMES = tuple(str(digit) for digit in range(10))
PER_CLASS = 100
OPTIMUM = 2.0  # the guidance at which the Fréchet distance of every fake run is lowest


def make_run(
    root: Path,
    *,
    quality: float = 0.0,
    weight: float = 0.0,
    counts: Sequence[int] = COUNTS,
    names: Sequence[str] = NAMES,
    full: int = 400,
    guidance: tuple[float, ...] = (1.0, 2.0, 3.0),
    steps: int = 600,
    store: Path = Path("missing-store"),
    index: np.ndarray | None = None,
    images: tuple[np.ndarray, np.ndarray] | None = None,
    log: bool = True,
    evaluated: bool = True,
    bounded: bool = True,
) -> RunDir:
    """A run whose Fréchet distances are lower by `quality` times 10 % and whose seconds grow with `weight`."""
    run = RunDir(root)
    spec = RunSpec(
        recipe="mnist5k-ccua" if weight else "mnist5k-plain",
        steps=steps,
        data=DataSpec(tail="exp", resample=0.1),
        objective=ObjectiveSpec(ucl=UCLSpec(weight=weight), al=ALSpec(weight=weight)),
    )
    facts = DataFacts(
        height=8, width=8, channels=1, class_names=tuple(names), counts=(full,) * len(counts), name="mnist5k"
    )
    index = np.arange(sum(counts)) if index is None else index
    split = Split("5f" * 32, "exp ratio=0.01", index, tuple(counts), _hash("5f" * 32, index))
    root.mkdir(parents=True)
    split.save(run.split)
    _write_info(run, spec, facts, store, split)
    if log:
        _write_log(run, spec, quality, weight)
    if evaluated:
        _write_table(run, spec, facts, counts, guidance, quality, bounded)
        for value in guidance if images is not None else ():
            assert images is not None
            np.savez(next(run.evaluations()).images(value), images=images[0], labels=images[1])
    return run


def _write_info(run: RunDir, spec: RunSpec, facts: DataFacts, store: Path, split: Split) -> None:
    info = {
        "format": 2,
        "spec": spec.model_dump(mode="json"),
        "facts": facts.model_dump(mode="json"),
        "store": {"path": str(store), "hash": split.store_hash},
        "split_hash": split.hash,
        "command": ["taildiff", "train", spec.recipe, "--out", str(run.root)],
        "created": "2025-01-02T03:04:05+00:00",
        "versions": {"taildiff": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "hardware": {"cpu": "a processor", "threads": 2, "device": "cpu", "accelerator": None},
        "commit": None,
    }
    write_json(run.spec, add_checksum(info))


def _write_log(run: RunDir, spec: RunSpec, quality: float, weight: float) -> None:
    random = np.random.default_rng(int(10 * quality))
    lines: list[str] = []
    for step in range(10, spec.steps + 1, 10):
        loss = 0.15 + np.exp(-step / 60) + 0.01 * random.standard_normal() - 0.01 * quality
        terms = {"denoising": loss} | ({"ucl": 2 + 40 / step, "al": 0.02 + 1 / step} if weight else {})
        line = {
            "step": step,
            "images": step * 64,
            "seconds": step * (0.2 + 0.5 * weight),
            "lr": 0.001,
            "grad_norm": 0.8,
            "loss": loss,
            "terms": terms,
            "weighted": terms,
            "by_noise": {"denoising": [2 * loss, loss, 0.7 * loss, 0.5 * loss]},
            "by_group": {"denoising": {"head": loss, "body": 0.95 * loss, "tail": None if step % 50 else 0.8 * loss}},
        }
        lines.append(json.dumps(line))
    run.metrics.write_text("\n".join(lines) + "\n")


def frechet(group: Group, guidance: float, quality: float) -> float:
    """The fake Fréchet distance."""
    base = {"all": 9.0, "head": 11.0, "body": 13.0, "tail": 19.0}[group]
    return (base + 6 * (guidance - OPTIMUM) ** 2) * (1 - 0.1 * quality)


def accuracy(rank: float, guidance: float, quality: float) -> float:
    """The fake accuracy of the class at `rank` (0 commonest, 1 rarest): rises with guidance."""
    return min(1.0, 0.99 - 0.5 * rank**2 / guidance + 0.02 * quality)


def _write_table(
    run: RunDir,
    spec: RunSpec,
    facts: DataFacts,
    counts: Sequence[int],
    guidance: tuple[float, ...],
    quality: float,
    bounded: bool,
) -> None:
    evaluation = EvalSpec(guidance=guidance, per_class=PER_CLASS)
    name = f"domain-n{PER_CLASS}-{run.root.name}"
    definition = Definition(
        name=name,
        run=run.root.name,
        step=spec.steps,
        spec=evaluation,
        weights_hash="ab" * 32,
        store_hash="5f" * 32,
        extractor=ExtractorInfo(name="domain", dim=32, hash="cd" * 32),
        class_names=facts.class_names,
        counts=tuple(counts),
    )

    def row(metric: str, group: Group, value: float, n: int, at: float | None, label: str = "") -> Row:
        share = wilson(round(value, 4), n) if bounded and metric != "frechet" else None
        return Row.model_validate(
            {
                "run": run.root.name,
                "step": spec.steps,
                "metric": metric,
                "group": group,
                "class": label,
                "value": round(value, 4),
                "low": share.low if share else None,
                "high": share.high if share else None,
                "n_real": n,
                "n_generated": 0 if at is None else n,
                "sampler": "heun",
                "steps": 20,
                "guidance": at,
                "ema": True,
                "seed": 0,
                "definition": name,
            }
        )

    ranks = np.argsort(np.argsort(-np.asarray(counts), kind="stable")) / max(len(counts) - 1, 1)
    rows = [row("classifier_accuracy", "all", 0.985, 1000, None)]
    for at in guidance:
        groups: list[tuple[Group, Sequence[int]]] = [("all", range(len(counts)))]
        groups += [(group, labels) for group, labels in Groups.thirds(counts)]  # type: ignore[misc]
        for group, labels in groups:
            n = PER_CLASS * len(labels)
            share = float(np.mean([accuracy(ranks[label], at, quality) for label in labels]))
            rows += [
                row("frechet", group, frechet(group, at, quality), n, at),
                row("accuracy", group, share, n, at),
                row("recall", group, max(0.0, 0.95 - 0.1 * at - float(ranks[list(labels)].mean()) / 4), n, at),
            ]
        for label, shown in enumerate(facts.class_names):
            rows.append(row("accuracy", "class", accuracy(ranks[label], at, quality), PER_CLASS, at, shown))
            rows.append(row("recall", "class", max(0.0, 0.9 - 0.1 * at - ranks[label] / 3), PER_CLASS, at, shown))
    notes = ("Recall counts wrong-class samples too: read it beside the accuracy.",)
    Table(tuple(rows), definition, notes).write(run.evaluation(name))


def write_errors(run: RunDir, error: float = 0.01, key: int = 0) -> None:
    """Bootstrap replicates of all numbers: independent errors, relative to 1 for shares and to 10 for distances."""
    (folder,) = run.evaluations()
    rows, random = Table.read(folder).rows, np.random.default_rng(key)
    scale = [error * (10 if row.metric == "frechet" else 1) for row in rows]
    write_replicates(
        folder, rows, [(r.value or 0.0) + s * random.normal(size=400) for r, s in zip(rows, scale, strict=True)]
    )
