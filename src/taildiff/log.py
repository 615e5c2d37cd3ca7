"""How library code reports: the logger `taildiff`, and progress callbacks.

The library prints nothing and writes plain text; the command line installs a handler. Of several processes that train
together, only rank zero's records pass.
"""

import logging
from typing import Protocol, Self

from taildiff.distributed import is_rank_zero
from taildiff.errors import SpecError


def _is_reported(_: logging.LogRecord) -> bool:
    """Whether this process is rank zero, by the launcher's environment variables."""
    try:
        return is_rank_zero()
    except SpecError:  # a malformed variable, which training refuses
        return True


log = logging.getLogger("taildiff")
log.addFilter(_is_reported)
log.addHandler(logging.NullHandler())


class Stage(str):
    """A stage's name with what to show beside it now, such as the loss; equal to the bare name."""

    __slots__ = ("note",)
    note: str

    def __new__(cls, name: str, note: str = "") -> Self:
        """The name with a note."""
        stage = super().__new__(cls, name)
        stage.note = note
        return stage


class Progress(Protocol):
    """Called with a stage's name, the units done so far and their total; must be cheap and never raise.

    The name may be a `Stage`, which has a note.
    """

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Show that `done` of `total` units are done."""
        ...


def note_of(stage: str) -> str:
    """What to show beside a stage now."""
    return stage.note if isinstance(stage, Stage) else ""


def silent(stage: str, done: int, total: int, /) -> None:
    """Show nothing."""


def prefixed(progress: Progress, name: str) -> Progress:
    """The same progress with a name before each stage; notes stay."""

    def named(stage: str, done: int, total: int, /) -> None:
        progress(Stage(f"{name}: {stage}", note_of(stage)), done, total)

    return named
