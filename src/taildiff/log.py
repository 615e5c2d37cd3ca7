"""How long work tells how far it is, without knowing who shows it."""

from typing import Protocol


class Progress(Protocol):
    """Called with the stage's name, the units done so far and their total; must be cheap and never raise."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note of `done` of `total`."""
        ...


def silent(stage: str, done: int, total: int, /) -> None:
    """Show nothing."""
