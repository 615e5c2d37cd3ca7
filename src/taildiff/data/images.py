"""Decode an image file to a square 8-bit array: EXIF orientation, centre crop, antialiased resize, grey or colour.

Memory is bounded: the header gives an image's size before its pixels are decoded, images above `MOST_PIXELS` are
refused, and threads that decode large ones wait for each other.
"""

import io
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from taildiff.data.kinds import HEAD, SUPPORTED, content_kind
from taildiff.io.paths import reason, regular
from taildiff.memory import Budget

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
MOST_PIXELS = 178_956_970
"""Of an image as it is decoded (a large JPEG at 1/2, 1/4 or 1/8 of its size); Pillow's own limit."""
_BUDGET = Budget(2**30)
"""Bytes that all threads together decode into; an image that needs more is decoded alone."""
_BAND = 2**20
"""Values converted at once."""
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImageError(Exception):
    """An image file cannot be decoded; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One image of a store."""

    pixels: np.ndarray
    """uint8 (size, size, channels)."""
    animated: bool = False
    """Whether it is the first of several frames."""
    peak: int | None = None
    """Largest value of the image before scaling; None if it was not scaled: see `pixels`."""
    bits: int = 8
    """Bits per channel of the file, 8 or 16 (which stands for 32 as well)."""


def is_colour(file: Path | bytes) -> bool:
    """Whether the header says colour; False without a readable header. Decodes no pixels."""
    try:
        with Image.open(_opened(file), formats=FORMATS) as image:
            if image.mode in ("P", "PA"):
                entries = np.frombuffer(bytes(image.getpalette() or ()), np.uint8).reshape(-1, 3)
                return bool((entries != entries[:, :1]).any())
            return image.mode not in _GREY_MODES
    except Exception:  # decoders raise many types on damaged files; `decode` reports them
        return False


def decode(file: Path | bytes, size: int, channels: int) -> np.ndarray:
    """uint8 (size, size, channels), channels 1 or 3; `BrokenImageError` for anything that cannot be decoded."""
    return decode_frame(file, size, channels).pixels


def decode_frame(file: Path | bytes, size: int, channels: int, white: int | None = None) -> Decoded:
    """`decode`, and what a store reports of its images.

    `white` is the value that becomes 255, for images whose bits can hold it; default 255 or 65535.
    """
    try:
        with Image.open(_opened(file), formats=FORMATS) as image:
            animated = image.format != "MPO" and getattr(image, "is_animated", False)  # MPO: a photo with previews
            # A JPEG of more than twice the size is decoded at 1/2, 1/4 or 1/8 scale: fast, and still antialiased.
            drafted = image.draft(None, (2 * size, 2 * size))
            tiles = [*image.tile]
            with _BUDGET.spent(_bytes_of(image)):
                image.load()  # turns a TIFF upright, so that its orientation is read afterwards
                orientation = _orientation(image)
                plain, peak, bits = _plain(image, "L" if channels == 1 else "RGB", white, _Deep(file, tiles))
                square = fit(plain, size, drafted[1] if drafted else None)
    except UnidentifiedImageError:
        raise BrokenImageError(_no_image(file)) from None
    except FileNotFoundError:
        raise BrokenImageError("the file no longer exists") from None
    except BrokenImageError:
        raise
    except Exception as error:  # decoders raise a dozen types on damaged files: struct, zlib, SyntaxError, bombs …
        raise BrokenImageError(reason(error)) from None
    if orientation in _UPRIGHT:
        square = square.transpose(_UPRIGHT[orientation])
    return Decoded(np.asarray(square).reshape(size, size, channels), animated, peak, bits)


def from_array(pixels: np.ndarray, size: int, channels: int, white: int | None = None) -> Decoded:
    """uint8 or uint16 (H, W) or (H, W, 1 or 3) cropped and resized as by `decode`; grey is repeated for 3 channels."""
    bits, peak = 8 * pixels.dtype.itemsize, None
    if bits == 16 or (white or 255) < 255:
        peak = int(pixels.max())
        pixels = _scaled(pixels, white or 2**bits - 1)
    if pixels.shape[:2] != (size, size):
        flat = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
        pixels = np.asarray(fit(Image.fromarray(np.ascontiguousarray(flat)), size))
    return Decoded(np.broadcast_to(pixels.reshape(size, size, -1), (size, size, channels)), False, peak, bits)


def _no_image(file: Path | bytes) -> str:
    """Why a file cannot be opened, by its first bytes."""
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
        head = stream.read(HEAD)
    kind = content_kind(head)
    what = "" if kind is None or kind in SUPPORTED else f" but {kind}"
    return f"not a {', '.join(SUPPORTED[:-1])} or {SUPPORTED[-1]} image{what if head else ' but an empty file'}"


def _opened(file: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else regular(file)


@contextmanager
def any_size() -> Iterator[None]:
    """Lift Pillow's limit of pixels, which counts those of the file, in favour of `MOST_PIXELS`."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _bytes_of(image: Image.Image) -> int:
    """About what decoding takes; `BrokenImageError` for an image that is too large."""
    pixels = math.prod(image.size)
    if pixels > MOST_PIXELS:
        size = f"{image.width:,}x{image.height:,} pixels"
        raise BrokenImageError(f"{size}, more than the limit of {MOST_PIXELS:,}; make it smaller")
    return pixels * (8 if image.mode in ("1", "L", "P", "RGB") else 16)  # with the copies that `_plain` makes


def fit(image: Image.Image, size: int, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """Centre crop of `box` to a square, antialiased resize; commutes with flips and quarter turns."""
    left, top, right, bottom = box or (0, 0, *image.size)
    side = min(right - left, bottom - top)
    x, y = (left + right - side) // 2, (top + bottom - side) // 2  # whole pixels, as half pixels would blur
    return image.resize((size, size), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side), reducing_gap=3.0)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # an image with unreadable metadata may still be readable
        return 1


@dataclass(frozen=True, slots=True)
class _Deep:
    """What is needed to read colour of 16 bits per channel, of which Pillow keeps the upper 8."""

    file: Path | bytes
    tiles: list
    """Pillow's instructions for decoding, before the image was loaded."""

    @property
    def layout(self) -> str:
        """How the channels lie in the file, such as `RGB;16B`."""
        args = self.tiles[0].args if self.tiles else ""
        return args if isinstance(args, str) else str(args[0])

    def low(self) -> np.ndarray:
        """The lower 8 bits: the upper ones of the other byte order."""
        ours = "L" if sys.byteorder == "little" else "B"
        other = {"B": "L", "L": "B", "N": "B" if ours == "L" else "L"}[self.layout[-1]]
        with Image.open(_opened(self.file), formats=FORMATS) as image:
            layout = self.layout[:-1] + other
            image.tile = [
                tile._replace(args=layout if isinstance(tile.args, str) else (layout, *(tile.args or ())[1:]))
                for tile in image.tile
            ]
            return np.asarray(image)


def _plain(image: Image.Image, mode: str, white: int | None, deep: _Deep) -> tuple[Image.Image, int | None, int]:
    """The image in mode L or RGB, its largest value (None: see the result) and bits; transparent pixels are white."""
    peak, bits = None, 8
    if image.mode.startswith(("I", "F")):
        wide = np.asarray(image)
        peak, bits = int(np.nan_to_num(np.float64(wide.max()))), 16
        if white is None and (image.mode == "F" or peak > 65535):
            raise BrokenImageError(f"32-bit pixels up to {wide.max():g}; give the value that is white: --white N")
        image = Image.fromarray(_scaled(wide, white or 65535))
    elif ";16" in deep.layout:
        image, peak = _colour16(image, white, deep)
        bits = 16
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    image = image if image.mode == mode else image.convert(mode)
    if bits == 8 and white is not None and white < 255:
        array = np.asarray(image)
        return Image.fromarray(_scaled(array, white)), int(array.max()), bits
    return image, peak, bits


def _colour16(image: Image.Image, white: int | None, deep: _Deep) -> tuple[Image.Image, int]:
    """8 of 16 bits per channel, and the largest value (its lower bits count only with `white`)."""
    colours = np.asarray(image)[..., :3]
    if white is None or white == 65535:
        return image, 256 * int(colours.max()) + 255
    if not deep.layout.startswith("RGB"):
        raise BrokenImageError(
            f"16 bits per channel as {deep.layout.split(';')[0]} cannot be scaled; convert it to RGB"
        )
    wide = (colours.astype(np.uint16) << 8) | deep.low()[..., :3]
    scaled = _scaled(wide, white)
    if image.mode == "RGBA":
        scaled = np.dstack([scaled, np.asarray(image)[..., 3]])
    return Image.fromarray(scaled), int(wide.max())


def _scaled(values: np.ndarray, white: int) -> np.ndarray:
    """uint8, with `white` and everything above it at 255."""
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _BAND * len(values) // max(values.size, 1))
    for start in range(0, len(values), rows):
        band = values[start : start + rows].astype(np.float64)
        scaled[start : start + rows] = np.rint(np.nan_to_num(band) * (255 / white)).clip(0, 255)
    return scaled
