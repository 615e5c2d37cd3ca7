"""Pictures inside a page: small images as data addresses."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Uint8s = np.ndarray[Any, np.dtype[np.uint8]]
Picture = Callable[[], Uint8s]
"""Reads one image (H, W, C) when it is needed."""
LOSSLESS = 48
"""Pixels per side up to which an image is kept exactly, as PNG; larger ones become WebP."""
_QUALITY = 82


def reduced(image: Uint8s, largest: int) -> Uint8s:
    """The image (H, W, C), with its longer side reduced to `largest` pixels."""
    height, width = image.shape[:2]
    if max(height, width) <= largest:
        return image
    scale = largest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(to_pil(image).resize(size, Image.Resampling.LANCZOS))
    return small[..., None] if small.ndim == 2 else small


def to_pil(image: Uint8s) -> Image.Image:
    """The image (H, W, 1 or 3) for Pillow."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def png_uri(png: bytes) -> str:
    """A PNG file as an address for `<img>`."""
    return _uri("png", png)


def picture_uri(image: Uint8s, largest: int) -> str:
    """The image as an address, reduced to `largest` pixels per side."""
    small, buffer = reduced(image, largest), io.BytesIO()
    if max(small.shape[:2]) <= LOSSLESS:
        to_pil(small).save(buffer, "PNG", optimize=True)
        return _uri("png", buffer.getvalue())
    to_pil(small).save(buffer, "WEBP", quality=_QUALITY, method=4)
    return _uri("webp", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
