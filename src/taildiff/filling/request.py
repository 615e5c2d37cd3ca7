"""What to fill: how many images each class gets, and what the folder looks like. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from taildiff.data.class_names import position
from taildiff.data.longtail import Groups
from taildiff.errors import InputError, unknown
from taildiff.spec import SamplingSpec

Originals = Literal["auto", "link", "copy", "resized", "none"]
Layout = Literal["classes", "split"]
MOST_DRAWS = 10
"""Images drawn per image asked for, before a class is given up."""
FEWEST_TRUSTED = 5
"""Training images below which a class is filled only by force."""
LARGEST = 10_000_000
"""Images that one call may ask for."""


@dataclass(frozen=True)
class Amounts:
    """How many images to add, by exactly one of `to`, `add`, `counts` and `balance`; totals count training images."""

    to: int | None = None
    """Fill each class up to this many images."""
    add: int | None = None
    """Add this many to each class."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Fill these classes up to these numbers."""
    balance: float | None = None
    """Fill each class up to this share of the largest one."""
    classes: tuple[str, ...] = ()
    """Only these."""
    rare: bool = False
    """Only classes with fewer than 20 training images (the few-shot group)."""

    def asked(self, have: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
        """Images to admit of each class (C,) with these training images (C,); `InputError` for a wrong request."""
        self.check()
        chosen = self._chosen(have, names)
        asked = tuple(max(0, total - n) if k in chosen else 0 for k, (total, n) in enumerate(self._totals(have, names)))
        if not sum(asked):
            raise InputError("there is nothing to fill: each of these classes has that many images already")
        if sum(asked) > LARGEST:
            raise InputError(f"{sum(asked):,} images are too many for one call; ask for at most {LARGEST:,}")
        return asked

    def check(self) -> None:
        """`InputError` for what is wrong whatever the classes are."""
        given = {"--to": self.to, "--add": self.add, "--counts": self.counts or None, "--balance": self.balance}
        if sum(value is not None for value in given.values()) != 1:
            raise InputError(
                "say how many images to add, in one way: --to 200, --add 50, --counts cat=200,owl=50, or --balance 0.5 "
                "of the largest class"
            )
        if self.counts and (self.classes or self.rare):
            raise InputError("--counts names its classes; remove --classes and --rare")
        if self.classes and self.rare:
            raise InputError("give --classes or --rare, not both")
        if self.balance is not None and not 0 < self.balance <= 1:
            raise InputError(f"--balance {self.balance:g} must lie above 0, at most 1: the share of the largest")
        for flag, values in (("--to", [self.to]), ("--add", [self.add]), ("--counts", list(self.counts.values()))):
            if any(value is not None and value < 1 for value in values):
                raise InputError(f"{flag} must be at least 1")

    def _chosen(self, have: Sequence[int], names: Sequence[str]) -> set[int]:
        if self.rare:
            few = dict(Groups.shots(have)).get("few", ())
            if not few:
                raise InputError("no class has fewer than 20 training images (--rare); name classes with --classes")
            return set(few)
        return {_label(name, names) for name in self.classes or self.counts or names}

    def _totals(self, have: Sequence[int], names: Sequence[str]) -> list[tuple[int, int]]:
        """(total, training images) of each class."""
        if self.counts:
            wanted = {_label(name, names): count for name, count in self.counts.items()}
            return [(wanted.get(k, 0), n) for k, n in enumerate(have)]
        if self.add is not None:
            return [(n + self.add, n) for n in have]
        total = self.to if self.to is not None else math.floor((self.balance or 0) * max(have) + 1e-9)
        return [(total, n) for n in have]


def _label(name: str, names: Sequence[str]) -> int:
    label = position(names, name)
    if label < 0:
        raise InputError(unknown("class", name, names))
    return label


@dataclass(frozen=True)
class FillRequest:
    """A whole request."""

    amounts: Amounts
    originals: Originals = "auto"
    """`auto`: links where the files are found, else resized."""
    layout: Layout = "classes"
    """OUT/<class>, or with `split` OUT/train/<class> and OUT/test/<class>."""
    keep_rejected: bool = False
    force: bool = False
    """Fill classes of fewer than `FEWEST_TRUSTED` training images too."""
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    guidance: float = 1.0
    batch_size: int | None = None
    """Of one pass of the network; None: by the size of the images."""

    def __post_init__(self) -> None:
        self.amounts.check()
        for value, choices, flag in (
            (self.originals, get_args(Originals), "--originals"),
            (self.layout, get_args(Layout), "--layout"),
        ):
            if value not in choices:
                raise InputError(unknown(f"value of {flag}", value, choices))
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"--batch-size {self.batch_size} must be at least 1")


def check_few(asked: Sequence[int], have: Sequence[int], names: Sequence[str], force: bool) -> None:
    """`InputError` for classes to fill that have too few training images, unless forced."""
    few = [f"{names[k]} ({have[k]})" for k, n in enumerate(asked) if n and have[k] < FEWEST_TRUSTED]
    if few and not force:
        raise InputError(
            f"fewer than {FEWEST_TRUSTED} training images: {', '.join(few)}. Neither the model nor the filters can "
            "know such a class, and its images may be copies or of other classes. Give --force, or name the others "
            "with --classes"
        )
