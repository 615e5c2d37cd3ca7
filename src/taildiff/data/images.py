"""Decode an image file to a square 8-bit array: EXIF orientation, centre crop, antialiased resize, grey or colour."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
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


def decode_frame(file: Path | bytes, size: int, channels: int) -> Decoded:
    """`decode`, and whether the file is animated."""
    try:
        with Image.open(_opened(file), formats=FORMATS) as image:
            orientation = _orientation(image)
            animated = image.format != "MPO" and getattr(image, "is_animated", False)  # MPO: a photo with previews
            # A JPEG of more than twice the size is decoded at 1/2, 1/4 or 1/8 scale: fast, and still antialiased.
            drafted = image.draft(None, (2 * size, 2 * size))
            box = drafted[1] if drafted else (0, 0, *image.size)
            square = fit(_plain(image, "L" if channels == 1 else "RGB"), size, box)
    except UnidentifiedImageError:
        raise BrokenImageError("not a JPEG, PNG or WebP image") from None
    except FileNotFoundError:
        raise BrokenImageError("the file no longer exists") from None
    except Exception as error:  # decoders raise a dozen types on damaged files: struct, zlib, SyntaxError, bombs …
        raise BrokenImageError(str(error) or type(error).__name__) from None
    if orientation in _UPRIGHT:
        square = square.transpose(_UPRIGHT[orientation])
    return Decoded(np.asarray(square).reshape(size, size, channels), animated)


def from_array(pixels: np.ndarray, size: int, channels: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 1 or 3) cropped and resized as by `decode`; grey is repeated for 3 channels."""
    if pixels.shape[:2] != (size, size):
        flat = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
        pixels = np.asarray(fit(Image.fromarray(np.ascontiguousarray(flat)), size))
    return np.broadcast_to(pixels.reshape(size, size, -1), (size, size, channels))


def _opened(file: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


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


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Mode L or RGB; transparent pixels become white, 16 bits are scaled (Pillow would clip them)."""
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return image if image.mode == mode else image.convert(mode)
