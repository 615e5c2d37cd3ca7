"""The consoles that everything for people is printed on."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from taildiff.text import shown


class SafeConsole(Console):
    """A console on which names cannot act: control characters and the like are escaped (`text.shown`)."""

    def __init__(self, **options: Any):
        """As rich's, without emoji codes, which names may contain."""
        super().__init__(emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich's, of the escaped text, so that columns are as wide as what is shown."""
        return super().render_str(shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's, with whatever was not a plain string escaped as well."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


errors = SafeConsole(stderr=True)
"""For progress and the log: one console, so that lines of the log go above the bars and not into them."""
