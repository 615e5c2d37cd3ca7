"""Images whose values do not fill their range: reported, and made right by `white`."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from sources import prepare_folder

from taildiff.data.formats.npz import find_npz
from taildiff.data.images import BrokenImageError, decode_frame, is_colour
from taildiff.data.prepare import prepare
from taildiff.data.white import value_notes
from taildiff.errors import DataError

RNG = np.random.default_rng(0)


def png16(path, values):
    """A PNG of 16 bits per channel, grey or colour, with or without alpha; Pillow writes grey alone."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def photos(root, save, each=3):
    for name in ("lung", "bone"):
        for k in range(each):
            path = root / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
    return root


@pytest.mark.parametrize(("bits", "white"), [(12, 4095), (10, 1023), (8, 255), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_few_bits_in_sixteen_are_reported_and_scaled(tmp_path, bits, white, channels):
    values = RNG.integers(0, white + 1, (8, 8, channels))
    values[0, 0] = white
    root = photos(tmp_path / "p", lambda path: png16(path, values))
    dark = prepare_folder(root, tmp_path / "dark", 8)
    assert dark.images.max() <= 16
    if channels == 1 or bits >= 8:  # the lower 8 bits of colour are not read until they are needed
        assert dark.meta.notes[0].startswith(f"the images of 16 bits per channel use only {bits} of them")
        assert f"with --white {white}" in dark.meta.notes[0]
    right = prepare_folder(root, tmp_path / "right", 8, white=white)
    np.testing.assert_array_equal(right.images[0], np.rint(values * 255 / white))
    assert not right.meta.notes
    assert right.meta.source.options == f"size=8 white={white}"
    with pytest.raises(DataError, match="--overwrite to replace it"):  # not taken for the same store
        prepare_folder(root, tmp_path / "dark", 8, white=white)


@pytest.mark.parametrize("kind", ["tiff", "tiff_lzw"])
def test_twelve_bits_in_tiff(tmp_path, kind):
    values = RNG.integers(0, 4096, (8, 8))
    path = tmp_path / "a.tif"
    Image.fromarray(values.astype(np.uint16)).save(path, compression=None if kind == "tiff" else "tiff_lzw")
    assert not is_colour(path)
    np.testing.assert_array_equal(decode_frame(path, 8, 1, 4095).pixels[..., 0], np.rint(values * 255 / 4095))


def test_colour_with_alpha_in_sixteen_bits(tmp_path):
    values = RNG.integers(0, 4096, (8, 8, 4))
    values[..., 3] = 65535
    values[0, 0, 3] = 0
    shown = decode_frame(png16(tmp_path / "a.png", values), 8, 3, 4095).pixels
    assert (shown[0, 0] == 255).all()
    np.testing.assert_array_equal(shown[1:], np.rint(values[1:, :, :3] * 255 / 4095))
    with pytest.raises(BrokenImageError, match="as LA cannot be scaled; convert it to RGB"):
        decode_frame(png16(tmp_path / "b.png", values[..., 2:]), 8, 3, 4095)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wider_pixels_need_to_know_what_is_white(tmp_path, dtype):
    values = np.linspace(0, 100_000, 64).reshape(8, 8).astype(dtype)
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(BrokenImageError, match=r"32-bit pixels up to 100000; give the value that is white: --white N"):
        decode_frame(path, 8, 1)
    shown = decode_frame(path, 8, 1, 100_000).pixels[..., 0]
    np.testing.assert_array_equal(shown, np.rint(values.astype(float) * 255 / 100_000))


def test_masks_of_zero_and_one_are_reported_and_scaled(tmp_path):
    values = RNG.integers(0, 2, (8, 8)).astype(np.uint8)
    root = photos(tmp_path / "p", lambda path: Image.fromarray(values).save(path))
    assert "no pixel of any image is above 1 of 255" in prepare_folder(root, tmp_path / "a", 8).meta.notes[0]
    store = prepare_folder(root, tmp_path / "b", 8, white=1)
    np.testing.assert_array_equal(store.images[0, ..., 0], 255 * values)
    assert not store.meta.notes


@pytest.mark.parametrize("colour", [(), (3,)])
def test_npz_of_other_ranges(tmp_path, colour):
    labels, right = np.arange(12) % 3, RNG.integers(0, 2, (12, 8, 8, *colour))
    for name, images, white, notes in (
        ("bool", right.astype(np.bool_), None, ()),
        ("uint8", right.astype(np.uint8), None, ("no pixel of any image is above 1 of 255",)),
        ("one", right.astype(np.uint8), 1, ()),
        ("uint16", (65535 * right).astype(np.uint16), None, ()),
        ("twelve", (4095 * right).astype(np.uint16), None, ("the images of 16 bits per channel use only 12",)),
        ("scaled", (4095 * right).astype(np.uint16), 4095, ()),
    ):
        place = tmp_path / f"{name}.npz"
        np.savez(place, images=images, labels=labels)
        store = prepare(find_npz(place), tmp_path / name, white=white)
        assert all(note.startswith(start) for note, start in zip(store.meta.notes, notes, strict=True))
        if not notes:
            np.testing.assert_array_equal(store.images.reshape(right.shape), 255 * right)


def test_white_that_does_not_fit_is_reported_or_refused(tmp_path):
    root = photos(tmp_path / "p", lambda path: png16(path, np.full((8, 8, 1), 5000)))
    assert prepare_folder(root, tmp_path / "a", 8, white=4095).meta.notes == (
        "values above --white 4095 (up to 5,000) were clipped to white",
    )
    assert value_notes({8: 200}, 4095) == ("--white 4095 changed nothing: no image has more than 8 bits per channel",)
    assert value_notes({8: 200}) == value_notes({16: 65535}) == value_notes({8: 255, 16: 40_000}) == ()
    assert value_notes({8: 0}) == ("all images are black",)
    assert len(value_notes({8: 255, 16: 4095})) == 1
    with pytest.raises(DataError, match="--white 0 must be at least 1"):
        prepare_folder(root, tmp_path / "b", 8, white=0)


def test_eight_bits_are_left_alone_by_a_white_of_more(tmp_path):
    pixels = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_frame(tmp_path / "a.png", 8, 3, 4095).pixels, pixels)


def test_peaks_survive_an_interruption(tmp_path, monkeypatch):
    root = photos(tmp_path / "p", lambda path: png16(path, RNG.integers(0, 4096, (8, 8, 1))), each=100)

    def stop(stage, done, total):
        if done >= 128:
            raise KeyboardInterrupt

    monkeypatch.setattr("taildiff.io.resumable_array.SHARD_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(root, tmp_path / "store", 8, workers=1, progress=stop)
    assert "use only 12 of them" in prepare_folder(root, tmp_path / "store", 8).meta.notes[0]
