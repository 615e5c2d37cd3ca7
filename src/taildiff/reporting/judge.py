"""The verdict on the runs of a report: `comparison/verdict.py`, over training seeds where a setting has several."""

from collections.abc import Sequence

from taildiff.comparison.compare import Subject, verdict_on
from taildiff.comparison.seeds import setting_of, verdict_over
from taildiff.comparison.table import Verdict
from taildiff.reporting.load import RunData


def verdict_of(settings: Sequence[RunData]) -> Verdict:
    """The verdict on settings in their order; empty where fewer than two were evaluated, or in different ways."""
    evaluated = [run for run in settings if run.evaluation]
    if len(evaluated) < 2 or len({run.evaluation.method for run in evaluated if run.evaluation}) > 1:
        return Verdict()
    if not any(run.members for run in evaluated):
        return verdict_on([_subject(run.name, run) for run in evaluated])
    groups = [[each for each in run.members or (run,) if each.evaluation] for run in evaluated]
    return verdict_over(
        [
            setting_of(run.name, [each.info.spec.seed for each in group], [_subject(each.name, each) for each in group])
            for run, group in zip(evaluated, groups, strict=True)
        ]
    )


def _subject(name: str, run: RunData) -> Subject:
    assert run.evaluation is not None
    return Subject(name, run.evaluation.folder, run.evaluation.table)
