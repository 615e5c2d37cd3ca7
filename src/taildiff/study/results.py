"""The results of a study as far as they exist: per dataset, at equal time and at equal steps. Imports no torch."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean

from taildiff.comparison.difference import LEVEL
from taildiff.comparison.equal_training import CLOSE
from taildiff.comparison.select import Guidance
from taildiff.comparison.table import ComparisonTable, Verdict
from taildiff.errors import RunError, first_few
from taildiff.evaluation.replicates import Key, key_of
from taildiff.evaluation.table import Row, Table
from taildiff.run.layout import seconds_at
from taildiff.spec import METRICS
from taildiff.study.cells import Cell, cells_of, check_alike
from taildiff.study.choose import Choice, Progressed, Status
from taildiff.study.file import FEWEST_SEEDS, At, Study
from taildiff.study.statistics import PRIMARY, SMALLEST_FRECHET, Measured, described, judged
from taildiff.text import spreadsheet_cell


@dataclass(frozen=True)
class Outcome:
    """One cell at equal time or steps."""

    cell: Cell
    step: int
    status: Status
    seconds: float | None
    """Of training up to the step, as measured in the cell."""
    flop: float
    images: int
    search: Table | None
    report: Table | None
    """None too for a setting that was not chosen."""


@dataclass(frozen=True)
class Block:
    """One dataset at equal time or at equal steps."""

    study: Study
    dataset: str
    at: At
    outcomes: tuple[Outcome, ...]
    choices: dict[str, Choice]
    """By method, where it is made."""
    leading: dict[str, Choice]
    """What would be chosen so far, by method with any cell; empty once every choice is made."""

    @property
    def name(self) -> str:
        """Such as `digits at equal time`."""
        return f"{self.dataset} at equal {self.at}"

    @property
    def primary(self) -> bool:
        """Whether the verdict is of this block."""
        return self.at == self.study.spec.budget.equal[0]

    @property
    def complete(self) -> bool:
        """Whether every cell is complete or has failed."""
        return all(outcome.status in ("complete", "failed") for outcome in self.outcomes)

    def choice(self, name: str) -> Choice | None:
        """The choice of a method; while any method lacks one, what leads so far."""
        return (self.leading or self.choices).get(name)

    def of_method(self, name: str) -> list[Outcome]:
        """The cells of a method's chosen or leading setting; all its cells before there is any."""
        choice = self.choice(name)
        own = [outcome for outcome in self.outcomes if outcome.cell.arm.method.name == name]
        return [each for each in own if choice is None or each.cell.arm.setting == choice.setting]

    def measured(self) -> list[Measured]:
        """Every method at its choice, in the order of the file; without rows while any choice is missing."""
        return [self._measured(method.name) for method in self.study.spec.methods]

    def _measured(self, name: str) -> Measured:
        choice, own = self.choices.get(name), self.of_method(name)
        if choice is None or self.leading:
            return Measured(name, None, {}, {})
        done = [each for each in own if each.report and each.status != "failed"]
        rows = {each.cell.place: _by_key(each.report) for each in done if each.report}
        search = {each.cell.place: _by_key(each.search) for each in done if each.search}
        return Measured(name, choice.guidance, rows, search)

    def searched(self, guidance: float | None = None) -> list[Measured]:
        """Every method on sampling seed A, at one guidance or at what leads or is chosen; all cells that have it."""
        return [self._searched(method.name, guidance) for method in self.study.spec.methods]

    def _searched(self, name: str, guidance: float | None) -> Measured:
        if guidance is None and (choice := self.choice(name)):
            guidance = choice.guidance
        done = [each for each in self.of_method(name) if each.status != "failed"]
        rows = {
            each.cell.place: {key: row for key, row in _by_key(each.search).items() if key[3] == guidance}
            for each in done
            if each.search
        }
        return Measured(name, guidance, rows, {})


def _by_key(table: Table) -> dict[Key, Row]:
    return {key_of(row): row for row in table.rows}


def collect(progressed: Progressed) -> list[Block]:
    """Every block; those of the verdict first."""
    choices, leading = progressed.choices(), progressed.leading()
    cells = cells_of(progressed.study, progressed.folder)

    def block(dataset: str, at: At) -> Block:
        outcomes = tuple(_outcome(progressed, cell, at, choices) for cell in cells if cell.arm.dataset.name == dataset)
        check_alike({each.cell.name: each.search for each in outcomes if each.search})
        check_alike({each.cell.name: each.report for each in outcomes if each.report})
        made, so_far = (
            {method: choice for (name, method, when), choice in each.items() if (name, when) == (dataset, at)}
            for each in (choices, leading)
        )
        return Block(progressed.study, dataset, at, outcomes, made, {} if made.keys() == so_far.keys() else so_far)

    return [
        block(dataset.name, at)
        for at in progressed.study.spec.budget.equal
        for dataset in progressed.study.spec.datasets
    ]


def _outcome(progressed: Progressed, cell: Cell, at: At, choices: dict[tuple[str, str, At], Choice]) -> Outcome:
    step, cost = progressed.step(cell, at), progressed.plan.arms[cell.arm.key]
    choice = choices.get((cell.arm.dataset.name, cell.arm.method.name, at))
    chosen = choice is not None and choice.setting == cell.arm.setting
    seconds = None
    with suppress(RunError):
        if step in cell.run.weight_steps():
            seconds = seconds_at(cell.run.metrics, step)
    return Outcome(
        cell,
        step,
        progressed.status(cell, choices),
        seconds,
        cost.flop * step,
        cost.images * step,
        progressed.search(cell, at),
        progressed.report(cell, at, choice) if choice and chosen else None,
    )


def comparison(block: Block, guidance: Guidance = "best") -> ComparisonTable:
    """The block as a comparison: the verdict (of the primary block alone), and all numbers at the chosen guidance.

    At a guidance instead of `best`, the numbers are those of sampling seed A, and there is no verdict.
    """
    if guidance != "best":
        return _on_seed_a(block, guidance)
    methods = block.searched() if block.leading else block.measured()
    tested = block.primary and block.complete
    verdict = judged(methods, tested)
    lines = described(methods)
    notes = tuple(_verdict_notes(block, verdict, tested))
    verdict = Verdict(verdict.names, verdict.lines, verdict.guidances, notes)
    seeds = tuple(len(method.rows) for method in methods)
    return ComparisonTable(
        tuple(method.name for method in methods), lines, tuple(notes_of(block)), _is_fid(block), seeds, verdict, lines,
        caption(block),
    )  # fmt: skip


def _on_seed_a(block: Block, guidance: float) -> ComparisonTable:
    methods = block.searched(guidance)
    seed = block.study.spec.seeds.choose
    notes = (f"at guidance {guidance:g} on sampling seed {seed}: description", *notes_of(block))
    seeds = tuple(len(method.rows) for method in methods)
    names = tuple(method.name for method in methods)
    return ComparisonTable(names, described(methods), notes, _is_fid(block), seeds, title=caption(block))


def _is_fid(block: Block) -> bool:
    tables = [table for outcome in block.outcomes if (table := outcome.search)]
    return bool(tables) and tables[0].definition.extractor.is_fid


def caption(block: Block) -> str:
    """What a table is of, with the study's hash, marked if it is incomplete."""
    done = "" if block.complete else "INCOMPLETE: "
    return f"{done}{block.study.title.rstrip('.')}; {block.name} (study {block.study.short_hash})"


def _verdict_notes(block: Block, verdict: Verdict, tested: bool) -> Iterator[str]:
    names = [f"{METRICS[metric].title} ({group})" for metric, group in PRIMARY]
    number = sum(d.p is not None for line in verdict.lines for cell in line.cells if (d := cell.difference))
    if block.leading:
        yield (
            f"PRELIMINARY: numbers of the cells so far on sampling seed {block.study.spec.seeds.choose}, each method "
            "at the guidance that leads on the same images"
        )
    if not block.primary:
        yield f"no verdict: at equal {block.study.spec.budget.equal[0]} it is given, here all numbers are description"
    elif not tested:
        yield "no verdict: cells are missing, and one that is read early is no test"
    elif not number:
        yield f"no verdict: it takes {FEWEST_SEEDS} training seeds that two methods share"
    else:
        yield (
            f"verdict over {number} comparisons with {verdict.names[0]} ({', '.join(names)}), paired by training seed, "
            f"Holm-corrected at {100 * LEVEL:.0f} %: bold is clear and the better. A Fréchet difference below "
            f"{100 * SMALLEST_FRECHET:.1f} % is none. All other numbers are description"
        )


def notes_of(block: Block) -> Iterator[str]:
    """What a reader has to know: seeds, choices, missing and failed cells, training times apart."""
    spec = block.study.spec
    group = "mean over classes" if spec.selection.group == "class" else spec.selection.group
    selection = f"{METRICS[spec.selection.metric].title} ({group})"
    yield (
        f"means over training seeds {', '.join(map(str, spec.seeds.training))} ± half of Student's 95 % interval; "
        f"guidance and setting chosen by {selection} on sampling seed {spec.seeds.choose}, reported on "
        f"{spec.seeds.report}"
    )
    if len(spec.seeds.training) < FEWEST_SEEDS:
        count = len(spec.seeds.training)
        yield f"only {count} training seed{'' if count == 1 else 's'}: exploratory, and no difference is certain"
    if missing := [o.cell.name for o in block.outcomes if o.status not in ("complete", "failed")]:
        yield f"INCOMPLETE: {len(missing)} of {len(block.outcomes)} cells are missing: {first_few(missing, 5)}"
    for outcome in block.outcomes:
        if outcome.status == "failed":
            yield f"failed: {outcome.cell.name}: {outcome.cell.failed}"
    yield from _apart(block)
    notes = (note for o in block.outcomes for table in (o.report,) if table for note in table.notes)
    yield from dict.fromkeys(notes)


def _apart(block: Block) -> Iterator[str]:
    """Methods whose mean training time is not near the first one's, where time is to be equal."""
    if block.at != "time":
        return
    means = {
        method.name: fmean(seconds)
        for method in block.study.spec.methods
        if (seconds := [each.seconds for each in block.of_method(method.name) if each.seconds is not None])
    }
    first = means.get(block.study.spec.methods[0].name)
    far = [
        f"{name} {value / first - 1:+.0%}" for name, value in means.items() if first and abs(value / first - 1) > CLOSE
    ]
    if far:
        yield (
            "training seconds measured in the cells differ from the first method's, as the machine was shared or "
            f"another one; steps were fixed beforehand: {', '.join(far)}"
        )


COLUMNS = (
    *("study", "dataset", "at", "method", "setting", "training_seed", "status", "step", "seconds", "flop", "images"),
    *("chosen", "purpose", "sampling_seed", "guidance", "metric", "group", "class", "value", "low", "high"),
    *("n_real", "n_generated"),
)
"""Of the raw rows."""


def to_csv(blocks: Sequence[Block]) -> str:
    """One row per number of each cell; a cell without numbers has one row with its status."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for block in blocks:
        for outcome in block.outcomes:
            for row in _raw(block, outcome):
                writer.writerow(map(spreadsheet_cell, row))
    return text.getvalue()


def _raw(block: Block, outcome: Outcome) -> Iterator[tuple[object, ...]]:
    arm, choice = outcome.cell.arm, block.choices.get(outcome.cell.arm.method.name)
    chosen = "" if choice is None else str(choice.setting == arm.setting).lower()
    cell = (
        *(block.study.short_hash, block.dataset, block.at, arm.method.name, arm.setting + 1, outcome.cell.seed),
        *(outcome.status, outcome.step, outcome.seconds, outcome.flop, outcome.images, chosen),
    )
    tables = [("choose", outcome.search), ("report", outcome.report)]
    if not any(table for _, table in tables):
        yield (*cell, *[""] * (len(COLUMNS) - len(cell)))
    for purpose, table in tables:
        for row in table.rows if table else ():
            yield (*cell, purpose, *_numbers(row))


def _numbers(row: Row) -> tuple[object, ...]:
    return (
        *(row.seed, row.guidance, row.metric, row.group, row.class_name, row.value, row.low, row.high),
        *(row.n_real, row.n_generated),
    )
