"""Settings: runs that differ only in the training seed, and what to call them; imports no torch."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from taildiff.comparison.compare import names_of
from taildiff.errors import RunError
from taildiff.run.info import MAY_CHANGE, RunInfo, changed
from taildiff.run.layout import RunDir

_APART = "-_. /="
_NUMBERING = re.compile(rf"[{_APART}]*((?<![A-Za-z0-9])(seed|s))?[{_APART}]*$")


@dataclass(frozen=True)
class TrainedRun:
    """A run with its name in the table."""

    path: Path
    name: str
    info: RunInfo

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.info.spec.seed


def read_runs(paths: Sequence[Path], names: Sequence[str]) -> list[TrainedRun]:
    """The runs at these paths; `RunError` for a path that is none."""
    for path in paths:
        if not RunDir(path).exists():
            raise RunError(
                f"--over-seeds takes means over separately trained runs, and {path} is not a run; remove it or compare "
                "without --over-seeds"
            )
    return [TrainedRun(path, name, RunDir(path).info()) for path, name in zip(paths, names, strict=True)]


def grouped(runs: Iterable[TrainedRun]) -> list[list[TrainedRun]]:
    """Runs of one setting together, each in ascending order of seeds, in the order of their first runs."""
    groups: list[list[TrainedRun]] = []
    for run in runs:
        home = next((group for group in groups if _same(group[0].info, run.info)), None)
        if home is None:
            groups.append([run])
        else:
            home.append(run)
    return [sorted(group, key=lambda run: run.seed) for group in groups]


def _same(a: RunInfo, b: RunInfo) -> bool:
    """Whether two runs differ only in the seed and in what does not change their weights."""
    free = (*MAY_CHANGE, "seed", "data.list")  # the split's hash covers the content of the list
    trained = [
        # terms that compare the samples of a device alone see fewer of them on more devices
        (info.split_hash, info.start_from, info.latents and info.latents.hash)
        + ((info.spec.processes,) if info.spec.local else ())
        for info in (a, b)
    ]
    return trained[0] == trained[1] and not changed(a.spec, b.spec, free)


def check_seeds(group: Sequence[TrainedRun]) -> None:
    """`RunError` where two runs of a setting have the same seed; the group is in ascending order of seeds."""
    for run, other in pairwise(group):
        if run.seed == other.seed:
            raise RunError(
                f"{run.name} and {other.name} are equal, with the same seed {run.seed}, so their mean adds nothing. "
                "Give only one of them"
            )


def separable(groups: Sequence[Sequence[TrainedRun]]) -> list[tuple[str, list[TrainedRun]]]:
    """Settings with their names; runs of one setting that share a seed stay apart, under their own names."""
    apart = [
        part
        for group in groups
        for part in ([list(group)] if len({run.seed for run in group}) == len(group) else [[run] for run in group])
    ]
    own = [[run.name for run in part] for part in apart]
    names = [each[0] for each in own] if all(len(each) == 1 for each in own) else setting_names(apart)
    return list(zip(names, apart, strict=True))


def only_seeds_differ(paths: Sequence[Path]) -> str | None:
    """Names of the runs that `compare_seeds` would put into one column; None without any."""
    named = [(path, name) for path, name in zip(paths, names_of(paths), strict=True) if RunDir(path).exists()]
    try:
        groups = grouped(read_runs([path for path, _ in named], [name for _, name in named]))
    except RunError:  # of a file that comparing single runs does not read
        return None
    groups = [group for group in groups if len({run.seed for run in group}) == len(group) > 1]
    return "; ".join(", ".join(run.name for run in group) for group in groups) or None


def setting_names(groups: Sequence[Sequence[TrainedRun]]) -> list[str]:
    """The common part of a setting's run names, its recipe or its first run: the first choice that is unique."""
    members = [[run.name for run in group] for group in groups]
    starts = [_NUMBERING.sub("", _shared(names)) for names in members]
    ends = [_shared([name[::-1] for name in names])[::-1].lstrip(_APART) for names in members]
    recipes = [group[0].info.spec.recipe for group in groups]
    for names in (starts, ends, recipes):
        if all(names) and len(set(names)) == len(names):
            return names
    return [names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more" for names in members]


def _shared(names: Sequence[str]) -> str:
    """The longest common prefix, without the leading digits of a number that continues after it."""
    same = takewhile(lambda marks: len(set(marks)) == 1, zip(*names, strict=False))
    start = names[0][: len(list(same))]
    return start.rstrip("0123456789") if any(name[len(start) :][:1].isdigit() for name in names) else start
