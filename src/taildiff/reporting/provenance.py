"""Where every number comes from: one row a fact, one column a run."""

import shlex
from collections.abc import Sequence

from taildiff.reporting.load import RunData
from taildiff.reporting.plots import Table
from taildiff.run.info import RunInfo

HASH = 16
"""Digits of a hash that are shown; the run's files have all."""


def provenance(runs: Sequence[RunData]) -> Table:
    """Facts of the runs; one that no run has is left out."""
    columns = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for facts in columns for name, _ in facts))
    rows = [(name, *(dict(facts).get(name, "") for facts in columns)) for name in names]
    return Table(("", *(run.name for run in runs)), tuple(row for row in rows if any(row[1:])))


def _facts(run: RunData) -> list[tuple[str, str]]:
    info, spec = run.info, run.info.spec
    hardware = info.hardware
    steps = f"{run.log[-1].step if run.log else 0} of {spec.steps}, {spec.batch_size} images each"
    device = hardware.accelerator or hardware.device
    return [
        ("place", str(run.run.root)),
        ("recipe", spec.recipe),
        ("command", shlex.join(info.command)),
        ("training seed", str(spec.seed)),
        ("steps", steps),
        ("begun", info.created),
        ("trained on", f"{device}, {hardware.cpu}" if hardware.cpu else device),
        ("threads", str(hardware.threads or "")),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(info.versions.items()))),
        ("commit", info.commit or ""),
        ("data", f"{info.facts.name}, {info.facts.height} × {info.facts.width} × {info.facts.channels}"),
        ("store", info.store.path),
        ("store hash", info.store.hash[:HASH]),
        *_latent_facts(info),
        ("split hash", info.split_hash[:HASH]),
        *_evaluation_facts(run),
    ]


def _latent_facts(info: RunInfo) -> list[tuple[str, str]]:
    codec = info.facts.codec
    if codec is None or info.latents is None:
        return []
    return [
        ("latents", f"{codec.channels} × {codec.height} × {codec.width}, {info.latents.path}"),
        ("latents hash", info.latents.hash[:HASH]),
        ("VAE", f"{codec.kind} {codec.source}, scaling {codec.scaling:g}, {codec.hash[:HASH]}"),
    ]


def _evaluation_facts(run: RunData) -> list[tuple[str, str]]:
    if run.evaluation is None:
        return []
    table = run.evaluation.table
    known, sampling = table.definition, table.definition.spec.sampling
    whole = next(iter(table.select("frechet", "all")), None)
    return [
        ("evaluation", known.name),
        ("evaluated step", str(known.step)),
        ("weights hash", known.weights_hash[:HASH]),
        ("features", f"{known.extractor.name}, {known.extractor.dim} dimensions, {known.extractor.hash[:HASH]}"),
        ("reference", f"{known.spec.reference} images of the uncut data"),
        ("sampler", f"{sampling.sampler}, {sampling.steps} steps, {sampling.weights} weights, seed {sampling.seed}"),
        ("guidance", ", ".join(f"{value:g}" for value in table.guidances)),
        ("neighbours (precision, recall)", str(known.spec.k)),
        ("images judged", f"{whole.n_generated} generated, {whole.n_real} real" if whole else ""),
    ]
