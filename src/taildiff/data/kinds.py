"""Recognise files by their first bytes, whatever their suffix."""

import os

SUPPORTED = ("JPEG", "PNG", "WebP", "TIFF", "BMP")
"""Kinds of images that can be decoded."""
SUPPORTED_TEXT = f"{', '.join(SUPPORTED[:-1])} and {SUPPORTED[-1]}"
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib")
"""Files of these names are taken for images unopened; if they are none, decoding reports them as broken."""
HEAD = 132
"""Bytes of a file that `content_kind` needs."""
_RAW = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw"),
    *(".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Cameras' own formats; many of them open as TIFF, with only a preview in them."""
_NOTES = (
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".rst", ".html", ".htm", ".yaml", ".yml", ".toml"),
    *(".ini", ".log", ".db", ".sqlite", ".lnk", ".url", ".py", ".ipynb", ".sh", ".m", ".xmp", ".aae", ".md5"),
    *(".sha1", ".sha256", ".names", ".cfg", ".bak"),
)
"""Files that are commonly kept beside images; they are ignored."""
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance"),
    (b"SIMPLE  =", "FITS"),
    (b"qoif", "QOI"),
    (b"\x93NUMPY", "numpy array"),
    (b"PK\x03\x04", "zip archive"),
)
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "RAW",
}
_BMP_HEADERS = [size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)]


def content_kind(head: bytes) -> str | None:
    """What a file is by its first `HEAD` bytes, such as `JPEG` or `GIF`; None if that is unknown."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video")
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:1] == b"P" and head[1:2] in b"1234567" and head[2:3] in b" \t\r\n":
        return "netpbm"
    return None


def file_kind(path: str, name: str) -> str | None:
    """What a file of an unknown suffix is: one of `SUPPORTED`, or how a message counts it; None for what is no image.

    Reads the first bytes of the file; `OSError` if that fails.
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for each of a million files)
    if suffix in _RAW:
        return "RAW"
    head = read_head(path)
    kind = content_kind(head)
    if kind is not None:
        return kind
    if suffix in _NOTES or (not suffix and head and _is_text(head)):
        return None
    return suffix or ("file without suffix" if head else "empty file")


def read_head(path: str) -> bytes:
    """The first `HEAD` bytes of a file; `OSError` if they cannot be read."""
    number = os.open(path, os.O_RDONLY)
    try:
        return os.read(number, HEAD)
    finally:
        os.close(number)


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r" for byte in head)
