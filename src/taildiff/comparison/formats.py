"""What writes a comparison, by the file's suffix; imports no torch."""

from collections.abc import Callable

from taildiff.comparison.latex import to_latex
from taildiff.comparison.render import to_csv, to_markdown
from taildiff.comparison.table import ComparisonTable

TEXTS: dict[str, Callable[[ComparisonTable], str]] = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
"""Tables by the file's suffix."""
