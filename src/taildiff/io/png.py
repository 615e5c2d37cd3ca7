"""Images as files: grids and folders of PNG; uint8 (N, H, W, C) throughout."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from taildiff.io.atomic import write_atomic


def grid(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Images side by side, row by row, on white: uint8 (H', W', C)."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def png(image: np.ndarray) -> bytes:
    """One image (H, W, 1 or 3) as a PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write atomically."""
    write_atomic(path, png(image))
