"""A chart as one SVG file of its own, for papers and slides: panels side by side, colours and font fixed.

The page's charts take their colours from its style sheet (`plots.draw`); a file has to bring them along.
"""

import html
import re
from collections.abc import Sequence
from importlib.resources import files

from taildiff.reporting.plots import NARROW, WIDE, Chart, draw

COLUMNS = 4
_HEAD, _LEGEND, _GAP = 30, 24, 12
_LETTER = 7.2
"""Width of a letter of the legend."""


def to_svg_file(charts: Sequence[Chart]) -> str:
    """Charts below each other, each with its title, a legend and its panels; `<svg>` with a white background."""
    blocks = [_block(chart) for chart in charts]
    width = max(width for _, width, _ in blocks)
    parts: list[str] = []
    top = 0.0
    for body, _, height in blocks:
        parts.append(f'<g transform="translate(0 {top:g})">{body}</g>')
        top += height
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width:g}" '
        f'height="{top:g}" viewBox="0 0 {width:g} {top:g}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
    colours = _light()
    return re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], text)


def _light() -> dict[str, str]:
    """The colours of the pages in light mode, by the names of their CSS variables."""
    css = files("taildiff.reporting").joinpath("palette.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--(\w+): (#[0-9a-f]+)", css.partition("@media")[0]))


def _block(chart: Chart) -> tuple[str, float, float]:
    """The chart's content, width and height."""
    panel_width, panel_height = NARROW if len(chart.panels) > 3 else WIDE
    columns = min(COLUMNS, len(chart.panels))
    width = columns * (panel_width + _GAP) + _GAP
    title = f'<text x="{_GAP}" y="20" font-size="15" font-weight="bold" fill="var(--ink)">{_text(chart.title)}</text>'
    legend, lines = _legend(chart, width)
    panels: list[str] = []
    for place, panel in enumerate(chart.panels):
        x = _GAP + place % columns * (panel_width + _GAP)
        y = _HEAD + lines * _LEGEND + place // columns * (panel_height + _GAP)
        size = f'x="{x:g}" y="{y:g}" width="{panel_width}" height="{panel_height}"'
        panels.append(draw(chart, panel).replace("<svg ", f"<svg {size} ", 1))
    rows = -(-len(chart.panels) // columns)
    height = _HEAD + lines * _LEGEND + rows * (panel_height + _GAP)
    return "\n".join([title, *legend, *panels]), width, height


def _legend(chart: Chart, width: float) -> tuple[list[str], int]:
    """A coloured line and a name for each series, and the lines of text that they take."""
    named = dict.fromkeys((series.name, series.colour) for panel in chart.panels for series in panel.series)
    entries: list[str] = []
    x, line = float(_GAP), 0
    for name, colour in named:
        needed = 34 + _LETTER * len(name) + 14
        if x > _GAP and x + needed > width:
            x, line = float(_GAP), line + 1
        y = _HEAD + line * _LEGEND + 8
        stroke = f'stroke="var(--c{colour % 7})" stroke-width="2.5"'
        entries.append(f'<line x1="{x:g}" y1="{y}" x2="{x + 26:g}" y2="{y}" {stroke}/>')
        entries.append(f'<text x="{x + 32:g}" y="{y + 4}" font-size="12" fill="var(--ink)">{_text(name)}</text>')
        x += needed
    return entries, line + 1


def _text(text: str) -> str:
    return html.escape(text, quote=False)
