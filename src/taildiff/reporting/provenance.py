"""Where the numbers come from: one row per fact, one column per run."""

import shlex
from collections.abc import Sequence

from taildiff.reporting.load import RunData
from taildiff.reporting.plots import ChartTable
from taildiff.run.info import RunInfo

HASH = 16
"""Digits of a hash that are shown; the run's files have the rest."""


def provenance(runs: Sequence[RunData]) -> ChartTable:
    """Facts about the runs; a fact that no run has is left out."""
    columns = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for facts in columns for name, _ in facts))
    rows = [(name, *(dict(facts).get(name, "") for facts in columns)) for name in names]
    return ChartTable(("", *(run.name for run in runs)), tuple(row for row in rows if any(row[1:])))


def _facts(run: RunData) -> list[tuple[str, str]]:
    if run.is_foreign:
        store = run.info.store
        return [
            ("images", str(run.run.root)),
            ("real images", store.path),
            ("store hash", store.hash[:HASH]),
            *_evaluation_facts(run),
        ]
    info, spec = run.info, run.info.spec
    hardware = info.hardware
    steps = f"{run.log[-1].step if run.log else 0} of {spec.steps}, {spec.batch_size} images each"
    device = hardware.accelerator or hardware.device
    return [
        ("folder", str(run.run.root)),
        ("recipe", spec.recipe),
        ("command", shlex.join(info.command)),
        ("training seed", str(spec.seed)),
        ("steps", steps),
        ("started", info.created),
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
    definition, extractor, sampling = table.definition, table.definition.extractor, table.definition.spec.sampling
    overall = next(iter(table.select("frechet", "all")), None)
    made = [
        ("evaluated step", str(definition.step)),
        ("weights hash", definition.weights_hash[:HASH]),
        ("sampler", f"{sampling.title}, {sampling.weights} weights, seed {sampling.seed}"),
        ("guidance", ", ".join(f"{value:g}" for value in table.guidances)),
    ]
    return [
        ("evaluation", definition.name),
        *([] if run.is_foreign else made),
        ("features", f"{extractor.name}, {extractor.dim} dimensions, {extractor.hash[:HASH]}"),
        ("reference", f"{definition.spec.reference} images, before any cut"),
        ("neighbours (precision, recall)", str(definition.spec.k)),
        ("images evaluated", f"{overall.n_generated} generated, {overall.n_real} real" if overall else ""),
    ]
