"""Images as files: grids and folders of PNG; uint8 (N, H, W, C) throughout."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from taildiff.io.atomic import write_atomic

XMP = "XML:com.adobe.xmp"
"""The keyword of XMP in a PNG file (XMP specification, part 3)."""
GENERATED: Mapping[str, str] = {
    XMP: (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
        '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    )
}
"""Text that says an image was made by a trained model, by IPTC's vocabulary of digital source types."""


def grid(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Images side by side, row by row, on white: uint8 (H', W', C)."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def png(image: np.ndarray, text: Mapping[str, str] | None = None) -> bytes:
    """One image (H, W, 1 or 3) as a PNG file's bytes, with international text by keyword."""
    buffer, info = io.BytesIO(), PngInfo()
    for keyword, value in (text or {}).items():
        info.add_itxt(keyword, value)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write atomically."""
    write_atomic(path, png(image))
