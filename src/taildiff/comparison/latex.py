"""A comparison as a LaTeX table to paste into a paper: one row per subject, one column per number.

Bold follows the verdict alone (`verdict.py`).
"""

import re
from collections.abc import Sequence
from itertools import groupby

from taildiff.comparison.render import shown, signed
from taildiff.comparison.table import ComparisonTable, Line
from taildiff.errors import InputError
from taildiff.spec import METRICS
from taildiff.text import shown as safe

MOST_COLUMNS = 8
"""Numbers per row, which has to fit a page."""
_TEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--", "±": r"$\pm$", "−": "$-$"}
)


def to_latex(compared: ComparisonTable) -> str:
    """The table (package booktabs); `InputError` for more than `MOST_COLUMNS` numbers."""
    verdict, own = compared.verdict, _own_guidances(compared)
    lines = (*(verdict.lines if verdict.judged else ()), *compared.lines)
    if len(lines) > MOST_COLUMNS:
        raise InputError(
            f"a LaTeX table has at most {MOST_COLUMNS} numbers per row, and these are {len(lines)}: choose with "
            "--metrics, --groups and --guidance best"
        )
    rows = [
        [_tex(name), *own[place : place + 1], *(_cell(line, place, compared) for line in lines)]
        for place, name in enumerate(compared.names)
    ]
    body = [" & ".join(cells) + r" \\" for cells in rows]
    notes = [f"% {' '.join(safe(note).splitlines())}" for note in verdict.notes]
    text = [
        *notes,
        r"\begin{table}[t]",
        r"\centering",
        f"\\caption{{{_caption(compared, lines)}}}",
        f"\\label{{tab:{_label(compared)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        r"\toprule",
        *_head(compared, lines, bool(own)),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(text) + "\n"


def _head(compared: ComparisonTable, lines: Sequence[Line], own: bool) -> list[str]:
    """Two lines: metrics, and the groups of classes below them."""
    metrics = [METRICS[line.metric].on(compared.is_fid).heading for line in lines]
    spans = [(_tex(name), len(list(same))) for name, same in groupby(metrics)]
    top = ["", *(["$g$"] * own), *(f"\\multicolumn{{{n}}}{{c}}{{{name}}}" if n > 1 else name for name, n in spans)]
    second = ["", *([""] * own), *(_tex(line.class_name or line.group) for line in lines)]
    return [" & ".join(cells) + r" \\" for cells in (top, second)]


def _own_guidances(compared: ComparisonTable) -> list[str]:
    """The guidance of each subject, where each is at its own."""
    guidances = compared.verdict.guidances
    if not any(guidance is not None for guidance in guidances):
        return []
    return ["--" if guidance is None else f"{guidance:g}" for guidance in guidances]


def _cell(line: Line, place: int, compared: ComparisonTable) -> str:
    """A value with half its interval, bold by the verdict, and its difference to the first subject in small print."""
    cell = line.cells[place]
    text = _tex(shown(line.metric, cell, compared.seeds[place] if compared.seeds else None))
    text = f"\\textbf{{{text}}}" if cell.bold else text
    if not place or cell.difference is None:
        return text
    return f"{text} {{\\scriptsize ({_tex(signed(line.metric, cell.difference.value))})}}"


def _caption(compared: ComparisonTable, lines: Sequence[Line]) -> str:
    parts = [compared.title or f"{', '.join(compared.names[:-1])} and {compared.names[-1]}"]
    if compared.seeds:
        counts = sorted(set(compared.seeds))
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"Means over {seeds} training seed{'s' * (counts[-1] > 1)} ± half of Student's 95 % interval")
    parts.append(f"In parentheses: difference to {compared.names[0]}")
    if compared.verdict.judged:
        parts.append("Bold: clear in the verdict, and the better")
    guidances = {line.guidance for line in lines if line.guidance is not None}
    if len(guidances) == 1 and not compared.verdict.guidances:
        parts.append(f"Guidance {guidances.pop():g}")
    return _tex(". ".join(part.rstrip(".") for part in parts) + ".")


def _label(compared: ComparisonTable) -> str:
    """Lower-case letters, digits and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", (compared.title or " ".join(compared.names)).lower())
    return name[:60].strip("-") or "comparison"


def _tex(text: str) -> str:
    return safe(text).translate(_TEX).replace("\n", " ")
