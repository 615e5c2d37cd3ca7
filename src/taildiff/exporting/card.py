"""The model card of an export: what huggingface_hub parses at its head, and what a reader has to know below it."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from taildiff.data.longtail import Groups
from taildiff.errors import RunError, first_few
from taildiff.evaluation.overview import GROUPS
from taildiff.evaluation.table import Group, Row, Table
from taildiff.exporting.public import public_source, public_text
from taildiff.run.exported import ExportMeta
from taildiff.run.layout import RunDir
from taildiff.spec import METRICS, RunSpec
from taildiff.text import shown

_MOST_CLASSES = 20


@dataclass(frozen=True)
class Card:
    """What a run does not know."""

    name: str = ""
    """The model's name; default: that of the run."""
    license: str = "other"
    """An identifier of the Hub, such as apache-2.0, mit or cc-by-4.0; other: none is stated."""
    data_license: str = ""
    """The licence of the training images."""


def model_card(run: RunDir, record: ExportMeta, card: Card, grid: bool) -> str:
    """README.md: YAML for the Hub, then text."""
    name, table = card.name or record.run, evaluation_of(run, record.step, record.kind)
    head = json.dumps(_head(name, record, card, table), indent=1, ensure_ascii=True)  # JSON is YAML
    parts = [f"---\n{head}\n---", f"# {_text(name)}", _summary(record)]
    parts += ["![Images of some classes, the commonest in the first row](grid.png)"] if grid else []
    parts += [_use(record), _data(record, card), _training(record), _numbers(record, table), _limits(record, card)]
    return "\n\n".join(parts) + "\n"


def evaluation_of(run: RunDir, step: int, kind: str) -> Table | None:
    """The newest undamaged evaluation of these weights."""
    newest = None
    for folder in run.evaluations():
        try:
            table = Table.read(folder)
        except RunError:
            continue
        if table.definition.step == step and table.definition.spec.sampling.weights == kind:
            newest = table
    return newest


def method(spec: RunSpec) -> str:
    """The terms of the objective, and what is resampled: `denoising + UCL 0.05 + AL 0.05, resampling 0.1`."""
    parts = ["denoising", *(f"{name.upper()} {block.weight:g}" for name, block in spec.objective.terms.items())]
    if spec.objective.transfer.mode != "none":
        parts.append(f"target transfer {spec.objective.transfer.mode}")
    text = " + ".join(parts)
    if spec.data.resample is not None:
        text += f", class resampling {spec.data.resample:g}"
    if spec.data.resample_power is not None:
        text += f", class resampling by size^{spec.data.resample_power:g}"
    return text


def _head(name: str, record: ExportMeta, card: Card, table: Table | None) -> dict[str, Any]:
    tags = ["diffusers", "class-conditional", "long-tailed", record.spec.model.kind, record.spec.path.kind]
    head: dict[str, Any] = {
        "library_name": "taildiff",
        "license": card.license,
        "pipeline_tag": "unconditional-image-generation",
        "tags": tags,
    }
    results = list(_results(record, table)) if table else []
    if results:
        head["model-index"] = [{"name": name, "results": results}]
    return head


def _results(record: ExportMeta, table: Table) -> Iterator[dict[str, Any]]:
    """One result per group: its metrics at the export's guidance, each with its 95 % interval where there is one."""
    features = table.definition.extractor.name
    for group in GROUPS:
        rows = [row for row in _rows(table, record.guidance) if row.group == group]
        if rows:
            yield {
                "task": {"type": "unconditional-image-generation", "name": "Class-conditional image generation"},
                "dataset": {
                    "type": re.sub(r"\W+", "-", record.facts.name) or "images",
                    "name": _dataset(record),
                    "split": group,
                },
                "metrics": [
                    {
                        "type": row.metric,
                        "name": f"{METRICS[row.metric].title}, {group} classes",
                        "value": row.value,
                        "args": {"guidance": row.guidance, "features": features, "low": row.low, "high": row.high},
                    }
                    for row in rows
                ],
            }


def _rows(table: Table, guidance: float) -> list[Row]:
    """Rows with a value at the guidance, or at the nearest one that was evaluated."""
    nearest = min(table.guidances, key=lambda value: abs(value - guidance), default=None)
    return [row for row in table.rows if row.value is not None and row.guidance == nearest]


def _dataset(record: ExportMeta) -> str:
    return f"{record.facts.name or 'images'} ({record.facts.height}×{record.facts.width})"


def _summary(record: ExportMeta) -> str:
    facts, spec = record.facts, record.spec
    network = {"unet": "U-Net", "sit": "DiT" if spec.model.kind == "sit" and spec.model.embed == "dit" else "SiT"}
    space = (
        f"on latents of {facts.codec.kind} {_text(public_source(facts.codec.source))}" if facts.codec else "on pixels"
    )
    return (
        f"A class-conditional diffusion model of {facts.classes} classes at {facts.height}×{facts.width} pixels: a "
        f"{network[spec.model.kind]} {space}, trained on long-tailed data with taildiff and exported from the "
        f"run `{_text(record.run)}`, {record.kind} weights of step {record.step}."
    )


def _use(record: ExportMeta) -> str:
    example = json.dumps(record.facts.class_names[-1])
    unet = record.spec.model.kind == "unet"
    plain = (
        '\nThe network alone is a plain `UNet2DModel`: `UNet2DModel.from_pretrained("OUT", subfolder="net")`; it takes '
        f"1000·s for the noise level s in [0, 1], and the label {record.facts.classes} means no label.\n"
    )
    return f"""## Use

With taildiff:

```python
from taildiff.diffusers import TaildiffPipeline

pipe = TaildiffPipeline.from_pretrained("OUT")
images = pipe([{example}] * 4, guidance_scale={record.guidance:g}, seed=0).images
```

Without it (Python 3.11 or newer; `pipeline.py` in this folder is run):

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("OUT", trust_remote_code=True)
```

OUT is this folder or its name on the Hub. Equal seeds give the images of `taildiff sample`.
{plain if unet else ""}
Defaults: {record.sampling.title}, guidance {record.guidance:g} (1 is none)\
{"" if record.null_trained else "; the model has no unconditional branch, so there is no other guidance"}."""


def _data(record: ExportMeta, card: Card) -> str:
    counts, names = record.counts, record.facts.class_names
    groups = dict(Groups.thirds(counts))
    rows = [
        f"| {name} | {len(labels)} | {min(counts[k] for k in labels):,} to {max(counts[k] for k in labels):,} |"
        for name, labels in groups.items()
    ]
    data = record.spec.data
    tail = {
        "natural": "all training images",
        "exp": f"an exponential tail, ratio {data.ratio:g}, seed {data.tail_seed}",
        "step": f"a step tail, ratio {data.ratio:g}, share {data.step_share:g}, seed {data.tail_seed}",
        "list": "the images of a list",
    }[data.tail]
    ranked = sorted(range(len(names)), key=lambda k: -counts[k])
    listed = first_few([f"{_text(names[k])} ({counts[k]:,})" for k in ranked], _MOST_CLASSES)
    table = "\n".join(["| classes | number | training images per class |", "|---|--:|--:|", *rows])
    return f"""## Data

{_text(_dataset(record))}, {sum(counts):,} training images: {tail}. \
Licence of the images: {_text(card.data_license) or "not stated"}.

{table}

Classes, commonest first: {listed}."""


def _training(record: ExportMeta) -> str:
    spec = record.spec
    settings = json.dumps(spec.model_dump(mode="json"), indent=1)
    return f"""## Method and settings

{method(spec)}; recipe `{_text(spec.recipe)}`, {record.step:,} steps of {spec.batch_size} images, seed {spec.seed}.

<details><summary>All settings</summary>

```json
{settings}
```

</details>"""


def _numbers(record: ExportMeta, table: Table | None) -> str:
    rows = _rows(table, record.guidance) if table else []
    if table is None or not rows:
        return "## Evaluation\n\nThese weights were not evaluated before the export."
    spec, names, guidance = table.definition.spec, dict.fromkeys(row.metric for row in rows), rows[0].guidance
    groups: list[Group] = [group for group in GROUPS if group in table.groups]
    lines = [f"| | {' | '.join(groups)} |", "|---|" + "--:|" * len(groups)]
    for metric in names:
        cells = [_cell(table.select(metric, group, guidance)) for group in groups]
        lines.append(f"| {METRICS[metric].heading} | {' | '.join(cells)} |")
    notes = "".join(f"\n- {_text(public_text(note))}" for note in table.notes)
    return f"""## Evaluation

At guidance {guidance:g}, {spec.per_class} images per class, {spec.sampling.title}, features \
`{table.definition.extractor.name}`; 95 % intervals in brackets. Head, body and tail are thirds of the classes by \
training images.

{chr(10).join(lines)}
{notes}""".rstrip()


def _cell(rows: Sequence[Row]) -> str:
    row = rows[0] if rows else None
    if row is None or row.value is None:
        return "–"
    rounded = METRICS[row.metric].rounded
    interval = "" if row.low is None or row.high is None else f" [{rounded(row.low)}, {rounded(row.high)}]"
    return f"{rounded(row.value)}{interval}"


def _limits(record: ExportMeta, card: Card) -> str:
    rarest = min(record.counts)
    licence = "No licence is stated." if card.license == "other" else f"The weights are under {_text(card.license)}."
    return f"""## Limits

- The rarest class had {rarest:,} training image{"" if rarest == 1 else "s"}: look at how varied its images are, and \
whether they repeat the training images, before relying on them.
- Images show what the training images showed, with their errors and their choice of subjects.
- Nothing outside the {record.facts.classes} classes, and no other size than \
{record.facts.height}×{record.facts.width}, can be generated.

{licence}"""


def _text(text: str) -> str:
    """A name as it is read: without control characters, and without Markdown's and HTML's own."""
    return "".join(f"\\{mark}" if mark in "\\`*_[]<>|#" else mark for mark in shown(text))
