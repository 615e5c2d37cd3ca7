"""A comparison as CSV, Markdown or LaTeX: one line per number, one column per subject, the best in bold."""

import csv
import io
from collections.abc import Callable

from taildiff.comparison.compare import Cell, ComparisonTable, Line
from taildiff.errors import InputError
from taildiff.spec import METRICS

_TEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--", "±": r"$\pm$"}
)


def renderer(suffix: str) -> Callable[[ComparisonTable], str]:
    """What writes a comparison for files of this suffix; `InputError` for an unknown one."""
    renderers = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
    if suffix not in renderers:
        raise InputError(f"unknown suffix '{suffix}': --out must end in .csv, .md or .tex")
    return renderers[suffix]


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
    text = "–" if row is None or row.value is None else METRICS[metric].text(row.value)
    if cell.seeds is None or row is None or row.value is None:
        return text
    if row.high is not None:
        half = row.high - row.value
        if METRICS[metric].unit == "share":
            text = f"{100 * row.value:.1f} ± {100 * half:.1f} %"
        else:
            text += f" ± {half:.2g}" if half < 99.5 else f" ± {half:.0f}"
    return text if cell.seeds == seeds else f"{text} (n = {cell.seeds})"


def change(metric: str, cell: Cell) -> str:
    """The difference to the first subject with its interval; empty without one."""
    if cell.difference is None:
        return ""
    d = cell.difference
    text = METRICS[metric].text(d.value, sign=True)
    if d.low is None or d.high is None:
        return text
    return f"{text} [{METRICS[metric].text(d.low, sign=True)}, {METRICS[metric].text(d.high, sign=True)}]"


def to_csv(compared: ComparisonTable) -> str:
    """Plain numbers, one line per number and subject."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("metric", "group", "class", "guidance", "subject", "value", "low", "high", "n_real", "n_generated", "best")
    writer.writerow((*head, "difference", "difference_low", "difference_high", "n_seeds"))
    for line in compared.lines:
        for name, cell in zip(compared.names, line.cells, strict=True):
            row, d = cell.row, cell.difference
            values = (row.value, row.low, row.high, row.n_real, row.n_generated) if row else (None,) * 5
            change_ = (d.value, d.low, d.high) if d else (None,) * 3
            place = (line.metric, line.group, line.class_name, line.guidance, name)
            writer.writerow((*place, *values, str(cell.best).lower(), *change_, cell.seeds))
    return text.getvalue()


def to_markdown(compared: ComparisonTable) -> str:
    """A table for a README."""
    head = _head(compared, "−", _plain)
    rows = [_cells(line, compared, lambda text: f"**{text}**", _plain) for line in compared.lines]
    lines = [head, ["---", "---", *(["--:"] * (len(head) - 2))], *rows]
    notes = "".join(f"\n- {_plain(note)}" for note in compared.notes)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n" + (notes + "\n" if notes else "")


def to_latex(compared: ComparisonTable) -> str:
    """A tabular for a paper (package booktabs)."""
    head = _head(compared, "$-$", _tex)
    rows = [_cells(line, compared, lambda text: f"\\textbf{{{text}}}", _tex) for line in compared.lines]
    body = [" & ".join(cells) + r" \\" for cells in rows]
    notes = [f"% {note}" for note in compared.notes]
    top = [f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*notes, *top, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _head(compared: ComparisonTable, minus: str, plain: Callable[[str], str]) -> list[str]:
    first, *others = map(plain, compared.names)
    top, *rest = map(plain, titles(compared))
    columns = [cell for title, name in zip(rest, others, strict=True) for cell in (title, f"{name} {minus} {first}")]
    return ["metric", "classes", "guidance", top, *columns]


def _cells(line: Line, compared: ComparisonTable, bold: Callable[[str], str], plain: Callable[[str], str]) -> list[str]:
    guidance = "" if line.guidance is None else f"{line.guidance:g}"
    cells = [plain(METRICS[line.metric].on(compared.is_fid).heading), plain(where(line)), guidance]
    for place, cell in enumerate(line.cells):
        text = plain(shown(line.metric, cell, compared.seeds[place] if compared.seeds else None))
        cells.append(bold(text) if cell.best else text)
        if place:
            cells.append(plain(change(line.metric, cell)))
    return cells


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _tex(text: str) -> str:
    return text.translate(_TEX)
