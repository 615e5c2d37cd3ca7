"""Decoding: every colour mode, orientation and shape gives the image that a person sees."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from taildiff.data.images import BrokenImageError, decode, decode_frame, fit, from_array, is_colour


def ramp(height=24, width=24, top=255):
    """A grey image without symmetry: columns rise, and the upper left corner is bright."""
    values = np.tile(np.linspace(0, top, width), (height, 1))
    values[: height // 4, : width // 4] = top
    return values


def save(path, image, **options):
    image.save(path, **options)
    return path


def grey(values):
    return Image.fromarray(np.rint(values).astype(np.uint8))


def test_an_image_of_the_right_size_is_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    np.testing.assert_array_equal(decode(path, 16, 3), pixels)


@pytest.mark.parametrize("kind", ["L", "1", "P", "LA", "RGB", "RGBA", "16-bit", "CMYK"])
def test_every_colour_mode_shows_the_same_image(tmp_path, kind):
    values = np.where(ramp() > 127, 255, 0)
    picture = grey(values)
    match kind:
        case "16-bit":
            picture = Image.fromarray((values * 257).astype(np.uint16))
        case "P":
            picture = picture.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
        case _:
            picture = picture.convert(kind)
    jpeg = kind == "CMYK"
    path = save(tmp_path / ("a.jpg" if jpeg else "a.png"), picture, **({"quality": 100} if jpeg else {}))
    for channels in (1, 3):
        shown = decode(path, 24, channels)
        assert (shown.shape, shown.dtype) == ((24, 24, channels), np.uint8)
        np.testing.assert_allclose(shown.astype(float), values[..., None].repeat(channels, -1), atol=16 if jpeg else 1)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.rint(ramp(top=65535)).astype(np.uint16)))
    np.testing.assert_allclose(decode(path, 24, 1)[..., 0].astype(float), ramp(), atol=1)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
def test_transparency_is_white(tmp_path, kind):
    if kind == "P":
        picture, options = Image.new("P", (8, 8)), {"transparency": 0}
        picture.putpalette([0, 0, 0, 255, 0, 0])
    else:
        picture, options = Image.new(kind, (8, 8)), {}  # black, fully transparent
    path = save(tmp_path / "a.png", picture, **options)
    for channels in (1, 3):
        assert (decode(path, 8, channels) == 255).all()


def test_half_transparent_red_is_pink(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGBA", (8, 8), (255, 0, 0, 128)))
    np.testing.assert_allclose(decode(path, 8, 3)[0, 0].astype(int), [255, 127, 127], atol=1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_the_crop(tmp_path, orientation, suffix):
    """The stored image is the upright one turned back, so that decoding must show the upright one."""
    upright = ramp(40, 64)
    quarter = {5: lambda a: a.T, 6: lambda a: np.rot90(a), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1)}
    flat = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
    stored = (flat | quarter)[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"png": {}, "jpg": {"quality": 98}, "webp": {"lossless": True}}[suffix]
    path = save(tmp_path / f"a.{suffix}", grey(stored).convert("RGB"), exif=exif, **quality)
    expected = np.asarray(fit(grey(upright), 20)).astype(float)
    np.testing.assert_allclose(decode(path, 20, 1)[..., 0].astype(float), expected, atol=6 if suffix == "jpg" else 1)


@pytest.mark.parametrize(("height", "width"), [(40, 20), (20, 40), (41, 20)])
def test_the_central_square_is_kept(tmp_path, height, width):
    side = min(height, width)
    values = np.zeros((height, width))
    y, x = (height - side) // 2, (width - side) // 2
    values[y + 2 : y + side - 2, x + 2 : x + side - 2] = 255  # a white square in the middle of what stays
    shown = decode(save(tmp_path / "a.png", grey(values)), side, 1)[..., 0].astype(float)
    assert abs(shown.mean() / 255 - (side - 4) ** 2 / side**2) < 0.02
    np.testing.assert_allclose(shown, shown[:, ::-1], atol=1)
    np.testing.assert_allclose(shown, shown[::-1], atol=1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_downscaling_averages(tmp_path, suffix):
    board = np.indices((256, 256)).sum(0) % 2 * 255.0
    path = save(tmp_path / f"a.{suffix}", grey(board), **({"quality": 100} if suffix == "jpg" else {}))
    np.testing.assert_allclose(decode(path, 8, 1).astype(float), 127.5, atol=3)


def test_upscaling_and_unusual_shapes(tmp_path):
    assert (decode(save(tmp_path / "a.png", grey(np.full((1, 1), 77))), 32, 3) == 77).all()
    assert (decode(save(tmp_path / "b.png", grey(np.full((300, 1), 77))), 32, 1) == 77).all()
    shown = decode(save(tmp_path / "c.png", grey(ramp(8, 8)[4:])), 64, 1)[..., 0].astype(float)
    assert (np.diff(shown[32, 4:-4]) >= 0).all()


@pytest.mark.parametrize(
    ("mode", "suffix", "colour"),
    [
        ("L", "png", False),
        ("1", "png", False),
        ("LA", "png", False),
        ("I;16", "png", False),
        ("L", "jpg", False),
        ("RGB", "png", True),
        ("RGBA", "png", True),
        ("RGB", "jpg", True),
        ("CMYK", "jpg", True),
        ("RGB", "webp", True),
    ],
)
def test_is_colour_by_the_header(tmp_path, mode, suffix, colour):
    assert is_colour(save(tmp_path / f"a.{suffix}", Image.new(mode, (4, 4)))) is colour


def test_is_colour_by_the_palette(tmp_path):
    for entries, colour in (([0, 0, 0, 9, 9, 9], False), ([0, 0, 0, 9, 9, 10], True)):
        picture = Image.new("P", (4, 4))
        picture.putpalette(entries)
        assert is_colour(save(tmp_path / "a.png", picture)) is colour


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb():
    """A PNG of a few bytes that claims 60,000 × 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _encoded(kind):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a JPEG"),
        (b"hello", "not a JPEG"),
        (_encoded("GIF"), "not a JPEG"),
        (_encoded("JPEG")[:700], "truncated"),
        (_encoded("PNG")[:700], "truncated"),
        (_encoded("WEBP")[:70], "."),
        (_bomb(), "decompression bomb"),
    ],
    ids=["empty", "text", "gif", "jpeg", "png", "webp", "bomb"],
)
def test_broken_images_are_reported(tmp_path, data, message):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    is_colour(path)  # must not raise either
    with pytest.raises(BrokenImageError, match=message) as caught:
        decode(path, 8, 3)
    assert str(caught.value)


def test_broken_metadata_do_not_break_an_image(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 8), "white"), exif=b"Exif\0\0not a tiff header at all")
    assert (decode(path, 8, 3) == 255).all()


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_the_first_frame_of_an_animated_image_is_used(tmp_path, suffix):
    frames = [grey(np.full((8, 8), value)).convert("RGB") for value in (200, 30, 90)]
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **lossless)
    shown = decode_frame(path, 8, 1)
    assert shown.animated
    np.testing.assert_allclose(shown.pixels.astype(int), 200, atol=1)
    assert not decode_frame(save(tmp_path / f"b.{suffix}", frames[0], **lossless), 8, 1).animated


def test_a_photo_with_a_preview_is_not_animated(tmp_path):
    """Phones write several images into one JPEG; the first is the photo."""
    frames = [grey(np.full((8, 8), value)).convert("RGB") for value in (200, 30)]
    path = tmp_path / "a.jpg"
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    shown = decode_frame(path, 8, 1)
    assert not shown.animated
    np.testing.assert_allclose(shown.pixels.astype(int), 200, atol=2)


def test_bytes_are_read_like_files(tmp_path):
    path = save(tmp_path / "a.png", grey(ramp()).convert("RGB"))
    np.testing.assert_array_equal(decode(path.read_bytes(), 12, 3), decode(path, 12, 3))
    assert is_colour(path.read_bytes())


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((24, 24), 1),
        ((24, 24), 3),
        ((24, 24, 1), 1),
        ((24, 24, 1), 3),
        ((24, 24, 3), 3),
        ((30, 24), 3),
        ((24, 31, 3), 3),
    ],
)
def test_arrays_are_read_like_files(tmp_path, shape, channels):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels[..., 0] if shape[2:] == (1,) else pixels))
    for size in (24, 10):
        np.testing.assert_array_equal(from_array(pixels, size, channels).pixels, decode(path, size, channels))
