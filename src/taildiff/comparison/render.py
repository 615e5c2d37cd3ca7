"""A comparison as CSV or Markdown, one column per subject: first the verdict, then all numbers.

Bold follows the verdict alone (`verdict.py`).
"""

import csv
import html
import io
import re

from taildiff.comparison.table import Cell, ComparisonTable, Line
from taildiff.spec import METRICS
from taildiff.text import shown as safe
from taildiff.text import spreadsheet_cell

_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*|~"})
_EMPHASIS = re.compile(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
"""Underscores that may begin or end an emphasis; those inside a name do not."""


def where(line: Line) -> str:
    """The classes behind a line."""
    return line.class_name or ("all classes" if line.group == "all" else line.group)


def titles(compared: ComparisonTable) -> list[str]:
    """Column titles, with the number of training seeds for means over seeds."""
    if not compared.seeds:
        return list(compared.names)
    return [f"{name} ({n} seed{'' if n == 1 else 's'})" for name, n in zip(compared.names, compared.seeds, strict=True)]


def shown(metric: str, cell: Cell, seeds: int | None = None) -> str:
    """The value; for a mean over seeds with half its interval, and the number of seeds if it differs from `seeds`."""
    row = cell.row
    text = "–" if row is None or row.value is None else METRICS[metric].text(row.value).replace("-", "−")
    if cell.seeds is None or row is None or row.value is None:
        return text
    if row.high is not None:
        half = row.high - row.value
        if METRICS[metric].unit == "share":
            text = f"{100 * row.value:.1f} ± {100 * half:.1f} %"
        else:
            text += f" ± {half:.2g}" if half < 99.5 else f" ± {half:.0f}"
    return text if cell.seeds == seeds else f"{text} (n = {cell.seeds})"


def signed(metric: str, value: float) -> str:
    """A difference, with a true minus sign."""
    return METRICS[metric].text(value, sign=True).replace("-", "−")


def change(metric: str, cell: Cell) -> str:
    """The difference to the first subject with its interval, in the verdict with its corrected p; empty without one."""
    text, p = interval(metric, cell), p_value(cell)
    return f"{text}, p {p}" if p.startswith("<") else f"{text}, p = {p}" if p else text


def interval(metric: str, cell: Cell) -> str:
    """The difference to the first subject with its interval; empty without one."""
    if cell.difference is None:
        return ""
    d = cell.difference
    text = signed(metric, d.value)
    if d.low is None or d.high is None:
        return text
    unit = " %" if METRICS[metric].unit == "share" else ""
    value, low, high = (signed(metric, each).removesuffix(unit) for each in (d.value, d.low, d.high))
    return f"{value} [{low}, {high}]{unit}"


def p_value(cell: Cell) -> str:
    """The corrected p-value of the verdict, "0.03" or "< 0.001"; empty without one."""
    if cell.difference is None or cell.difference.p_holm is None:
        return ""
    p = cell.difference.p_holm
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def guidance_text(compared: ComparisonTable, line: Line, verdict: bool) -> str:
    """The guidance of a line; in the verdict that of each subject where they differ."""
    if verdict:
        return compared.verdict.at
    return "" if line.guidance is None else f"{line.guidance:g}"


def to_csv(compared: ComparisonTable) -> str:
    """Plain numbers, one line per number and subject."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("part", "metric", "group", "class", "guidance", "subject", "value", "low", "high", "n_real", "n_generated")
    head = (*head, "difference", "difference_low", "difference_high", "p_holm", "clear", "n_seeds")
    title = [compared.title] if compared.title else []
    writer.writerow((*head, *(["title"] if title else [])))
    for part, lines in _parts(compared):
        for line in lines:
            for name, cell in zip(compared.names, line.cells, strict=True):
                row, d = cell.row, cell.difference
                values = (row.value, row.low, row.high, row.n_real, row.n_generated) if row else (None,) * 5
                clear = str(d.clear).lower() if d and d.p_holm is not None else None
                change_ = (d.value, d.low, d.high, d.p_holm, clear) if d else (None,) * 5
                place = (part, line.metric, line.group, line.class_name, row.guidance if row else line.guidance, name)
                writer.writerow(map(spreadsheet_cell, (*place, *values, *change_, cell.seeds, *title)))
    return text.getvalue()


def to_markdown(compared: ComparisonTable, brief: bool = False) -> str:
    """Tables for a README: the verdict and the rest; `brief`: the verdict, or without one the rest by group."""
    head = _head(compared)
    tables = [f"{_plain(compared.title)}\n"] if compared.title else list[str]()
    for part, lines in _parts(compared)[: 1 if brief else None]:
        rows = [_cells(line, compared, part == "verdict") for line in lines if not (brief and line.class_name)]
        table = [head, ["---", "---", *(["--:"] * (len(head) - 2))], *rows]
        tables.append(f"{_TITLES[part]}:\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in table) + "\n")
    notes = "".join(f"- {_plain(note)}\n" for note in (*compared.verdict.notes, *compared.notes))
    return "\n".join([*tables, notes] if notes else tables)


_TITLES = {
    "verdict": "Verdict, each at its own guidance (bold: clear and the better)",
    "description": "Description, not corrected for the number of comparisons",
}


def _parts(compared: ComparisonTable) -> list[tuple[str, tuple[Line, ...]]]:
    verdict = [("verdict", compared.verdict.lines)] if compared.verdict.judged else []
    return [*verdict, ("description", compared.lines)]


def _head(compared: ComparisonTable) -> list[str]:
    first, *others = map(_plain, compared.names)
    top, *rest = map(_plain, titles(compared))
    columns = [cell for title, name in zip(rest, others, strict=True) for cell in (title, f"{name} − {first}")]
    return ["metric", "classes", "guidance", top, *columns]


def _cells(line: Line, compared: ComparisonTable, verdict: bool) -> list[str]:
    guidance = guidance_text(compared, line, verdict)
    cells = [_plain(METRICS[line.metric].on(compared.is_fid).heading), _plain(where(line)), guidance]
    for place, cell in enumerate(line.cells):
        text = _plain(shown(line.metric, cell, compared.seeds[place] if compared.seeds else None))
        cells.append(f"**{text}**" if cell.bold else text)
        if place:
            cells.append(_plain(change(line.metric, cell)))
    return cells


def _plain(text: str) -> str:
    """For Markdown: HTML and marks are shown as they are written."""
    text = _EMPHASIS.sub(r"\\\g<0>", html.escape(safe(text), quote=False).translate(_MARKDOWN))
    return text.replace("](", r"]\(").replace("\n", " ")
