"""One self-contained HTML page to look at generated images: by class, beside real ones, each with the nearest of them.

The page needs no network. Its one script filters and orders; without it, everything is shown. Pictures are reduced, and
if need be left out, until the page is smaller than `LARGEST_PAGE`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taildiff.errors import InputError
from taildiff.io.atomic import write_atomic
from taildiff.reporting.page import environment
from taildiff.reporting.pictures import Picture, Uint8s, picture_uri
from taildiff.text import shown

LARGEST_PAGE = 28_000_000
"""Bytes of the page at most."""
SIDES = (256, 192, 128, 96, 64, 48)
"""Pixels per side that pictures are reduced to: the first with which all fit."""
REAL = 12
"""Real images shown per class, besides those that are the nearest of a generated one."""
_PER_CARD = 700
"""Bytes of a card without its picture."""
_AROUND = 20_000
"""Bytes of everything else."""
_PROBES = 40


@dataclass(frozen=True)
class Verdict:
    """What was decided about an image, as the filter names it."""

    key: str
    """One word."""
    title: str
    good: bool


@dataclass(frozen=True)
class Generated:
    """A generated image."""

    picture: Picture
    name: str
    """Where it comes from: its file, or its rank."""
    guidance: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    """The decision first, then its reasons."""
    note: str = ""
    """Such as the class that the classifier sees instead."""
    nearest: int | None = None
    """The nearest training image, by the number that `Gallery.real` takes."""
    distance: float | None = None
    ratio: float | None = None
    """Of the distance to the usual one between real images of the class."""


@dataclass(frozen=True)
class GalleryClass:
    """A class with its images."""

    name: str
    count: int
    """Training images."""
    group: str
    """head, body or tail; empty where unknown."""
    real: tuple[int, ...]
    generated: tuple[Generated, ...]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """What the page shows; classes from the commonest to the rarest."""

    title: str
    lead: str
    classes: tuple[GalleryClass, ...]
    real: Callable[[int], Uint8s]
    """Reads a training image (H, W, C) by its number."""
    name_of_real: Callable[[int], str]
    notes: tuple[str, ...] = ()
    guidance: float | None = None
    """Selected when the page opens; None: all."""

    @property
    def cards(self) -> int:
        """Generated images."""
        return sum(len(each.generated) for each in self.classes)

    def first(self, most: int) -> "Gallery":
        """With the first `most` images of each class and guidance alone."""
        classes = (
            replace(each, generated=tuple(image for same in _by_guidance(each.generated) for image in same[:most]))
            for each in self.classes
        )
        return replace(self, classes=tuple(classes))

    @property
    def guidances(self) -> tuple[float, ...]:
        """Values of guidance in ascending order."""
        found = {image.guidance for each in self.classes for image in each.generated}
        return tuple(sorted(value for value in found if value is not None))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Decisions and reasons in the order of their first images, good ones first."""
        found = [verdict for each in self.classes for image in each.generated for verdict in image.verdicts]
        return tuple(sorted(dict.fromkeys(found), key=lambda verdict: not verdict.good))

    def pictured(self) -> tuple[int, ...]:
        """The training images on the page."""
        shown = {number for each in self.classes for number in each.real}
        images = (image for each in self.classes for image in each.generated)
        return tuple(sorted(shown | {image.nearest for image in images if image.nearest is not None}))


def write_gallery(gallery: Gallery, out: Path) -> Path:
    """Write the page to `out` and return it; `InputError` where it cannot be written."""
    try:
        write_atomic(out, render(gallery).encode())
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}. Choose another file with --out") from None
    return out


def render(gallery: Gallery, largest: int = LARGEST_PAGE) -> str:
    """The page as text of at most `largest` bytes."""
    fitting, side = fitted(gallery, largest)
    while True:
        text = _page(fitting, side, gallery.cards - fitting.cards)
        if len(text) <= largest or _most(fitting) <= 1:
            return text
        fitting = fitting.first(max(1, _most(fitting) * 3 // 4))


def fitted(gallery: Gallery, largest: int = LARGEST_PAGE) -> tuple[Gallery, int]:
    """The gallery with as many images of each class as fit, and the pixels per side that they are reduced to."""
    made = [image.picture for each in gallery.classes for image in each.generated]
    real = gallery.pictured()
    probes = [picture() for picture in made[:: max(1, len(made) // _PROBES)]]
    probes += [gallery.real(number) for number in real[:: max(1, len(real) // _PROBES)]]
    allowed, size = 0.95 * (largest - _AROUND), 0.0
    for side in SIDES if probes else SIDES[:1]:
        mean = sum(len(picture_uri(image, side)) for image in probes) / max(1, len(probes))
        size = (len(made) + len(real)) * mean + len(made) * _PER_CARD
        if size <= allowed:
            return gallery, side
    return gallery.first(max(1, int(_most(gallery) * allowed / size))), SIDES[-1]


def _most(gallery: Gallery) -> int:
    """The largest number of images of one class and guidance."""
    return max((len(same) for each in gallery.classes for same in _by_guidance(each.generated)), default=0)


def _by_guidance(images: Sequence[Generated]) -> list[list[Generated]]:
    values = dict.fromkeys(image.guidance for image in images)
    return [[image for image in images if image.guidance == value] for value in values]


def _page(gallery: Gallery, side: int, left_out: int) -> str:
    real = gallery.pictured()
    pages = environment()
    pages.filters["uri"] = lambda picture: picture_uri(picture(), side)
    text = pages.get_template("gallery.html.jinja").render(
        gallery=gallery,
        photos=[(number, picture_uri(gallery.real(number), side)) for number in real],
        groups=[name for name in ("head", "body", "tail") if any(each.group == name for each in gallery.classes)],
        left_out=left_out,
        pixelated=_is_small(gallery),
        has_nearest=any(image.nearest is not None for each in gallery.classes for image in each.generated),
    )
    return shown(text) + "\n"


def _is_small(gallery: Gallery) -> bool:
    """Whether the images have so few pixels that smoothing them would hide what they are."""
    first = next((image.picture() for each in gallery.classes for image in each.generated), None)
    return first is not None and max(first.shape[:2]) <= 64
