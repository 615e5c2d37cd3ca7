"""A comparison as data: subjects side by side, line by line; imports no torch."""

from dataclasses import dataclass

from taildiff.comparison.difference import Difference
from taildiff.evaluation.table import Group, Row
from taildiff.spec import MetricName
from taildiff.text import one_line


@dataclass(frozen=True)
class Cell:
    """One number of one subject."""

    row: Row | None
    bold: bool = False
    """Clear in the verdict, and the better (`verdict.py`)."""
    difference: Difference | None = None
    seeds: int | None = None
    """Training seeds behind a mean; None for a single run or for images."""


@dataclass(frozen=True)
class Line:
    """One metric in one scope at one guidance; in the verdict each subject has its own."""

    metric: MetricName
    group: Group
    class_name: str
    guidance: float | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Verdict:
    """The stated family of comparisons (`verdict.py`), each subject at its own guidance."""

    names: tuple[str, ...] = ()
    """Of the subjects; all are compared with the first."""
    lines: tuple[Line, ...] = ()
    guidances: tuple[float | None, ...] = ()
    """Of each subject; None for existing images."""
    notes: tuple[str, ...] = ()
    """What it is over, and what limits it."""

    @property
    def judged(self) -> bool:
        """Whether any difference could be tested."""
        return any(cell.difference and cell.difference.p_holm is not None for line in self.lines for cell in line.cells)

    def bold(self, name: str, metric: str, group: str) -> bool:
        """Whether a subject's number is clear and the better."""
        cells = [line.cells for line in self.lines if (line.metric, line.group) == (metric, group)]
        return name in self.names and any(own[self.names.index(name)].bold for own in cells)

    @property
    def at(self) -> str:
        """The guidances as text: "2", or "2, 1.5" where they differ."""
        known = [f"{value:g}" if value is not None else "–" for value in self.guidances]
        return ", ".join(known if len(set(known)) > 1 else known[:1])


@dataclass(frozen=True, repr=False)
class ComparisonTable:
    """Evaluations side by side; `notes` are warnings for the reader."""

    names: tuple[str, ...]
    lines: tuple[Line, ...]
    """Every number at every guidance: description."""
    notes: tuple[str, ...]
    is_fid: bool
    seeds: tuple[int, ...] = ()
    """Number of training seeds behind each subject, where they are means over seeds (`seeds.py`)."""
    verdict: Verdict = Verdict()
    best: tuple[Line, ...] = ()
    """Every number of each subject at its own guidance, as in the verdict: description."""
    title: str = ""
    """What is compared, for the caption of a table."""

    def __repr__(self) -> str:
        names = ", ".join(map(one_line, self.names))
        clear = sum(cell.bold for line in self.verdict.lines for cell in line.cells)
        found = f"{clear} clear difference{'' if clear == 1 else 's'}"
        return f"ComparisonTable({names}; {len(self.lines):,} lines, {found if self.verdict.judged else 'no verdict'})"

    def _repr_markdown_(self) -> str:
        from taildiff.comparison.render import to_markdown  # which imports this module

        return to_markdown(self, brief=True)
