# ruff: noqa: E501 (a table: one case per line)
"""Broken files and the error message of each: the table of docs/reliability.md.

In `message`, `…` stands for anything: paths, numbers, and the messages of libraries.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One broken file."""

    subject: str
    """Which file, by its name in the fuzz test."""
    what: str
    """What is wrong with it."""
    damage: Callable[[bytes], bytes] | None
    """From the good bytes to the bad ones; None replaces the file by a folder."""
    message: str
    """The error message."""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """One bit flipped, three quarters in."""
    place = 3 * len(data) // 4
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def empty(data: bytes) -> bytes:
    return b""


def deep(data: bytes) -> bytes:
    return b"[" * 100_000


def latin(data: bytes) -> bytes:
    return data.replace(b'"', b'"\xe9', 1)


def edited(**values: object) -> Callable[[bytes], bytes]:
    """Other top-level values in a JSON file."""
    return lambda data: json.dumps(json.loads(data) | values).encode()


def spec_of(name: str, value: object) -> Callable[[bytes], bytes]:
    """A JSON file with one key added or changed; NaN is allowed."""
    return lambda data: b"{" + json.dumps(name).encode() + b": " + json.dumps(value).encode() + b"," + data.strip()[1:]


def npy(array: np.ndarray) -> Callable[[bytes], bytes]:
    def make(data: bytes) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        return buffer.getvalue()

    return make


def npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def huge_npy(data: bytes) -> bytes:
    return npy_header((10**7, 10**5, 8, 1)) + bytes(100)


def npz(images: bytes, name: str = "images.npy") -> Callable[[bytes], bytes]:
    """An archive with these bytes as images, and correct labels."""

    def make(data: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, images)
            archive.writestr("labels.npy", npy(np.arange(9) % 3)(b""))
        return buffer.getvalue()

    return make


def bomb(data: bytes) -> bytes:
    """Nine gigabytes announced in the array, and in the archive too."""
    head = npy_header((9 * 2**30, 1, 1, 1))
    archive = npz(head)(data)
    size, wanted = struct.pack("<I", len(head)), struct.pack("<I", 2**32 - 1)
    return archive.replace(size, wanted)


def safetensors(header: object, body: bytes = b"") -> Callable[[bytes], bytes]:
    text = json.dumps(header).encode()
    return lambda data: struct.pack("<Q", len(text)) + text + body


PICKLE = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}

CASES = (
    Case("store/store.json", "empty", empty, "…/store.json is not readable JSON: …; prepare it again: taildiff data prepare … --overwrite"),
    Case("store/store.json", "100,000 nested lists", deep, "…/store.json is not readable JSON: …"),
    Case("store/store.json", "not UTF-8", latin, "…/store.json is not readable JSON: …utf-8…"),
    Case("store/store.json", "an unpaired surrogate (U+D800) as a class name", edited(class_names=["a", "b", "\ud800"]), "…/store.json is not readable JSON: …surrogates not allowed; prepare it again…"),
    Case("store/store.json", "a count that differs from the arrays", edited(count=10**9), "…/images.npy holds uint8 (12, 8, 8, 1), store.json says uint8 (1000000000, 8, 8, 1); prepare it again…"),
    Case("store/store.json", "other class names", edited(class_names=["a", "b", "../x"]), "…/store was changed after it was prepared (…do not fit the hash in store.json): prepare it again…"),
    Case("store/images.npy", "cut off", cut, "…/images.npy is damaged or cut off (…); prepare it again…"),
    Case("store/images.npy", "one bit of a picture flipped", flipped, "…/store was changed after it was prepared (its images, labels or class names do not fit the hash in store.json)…"),
    Case("store/images.npy", "8 TB announced, 100 bytes present", huge_npy, "…/images.npy is damaged or cut off (…)…"),
    Case("store/images.npy", "float64", npy(np.zeros((12, 8, 8, 1))), "…/images.npy holds float64 (12, 8, 8, 1), store.json says uint8 (12, 8, 8, 1)…"),
    Case("store/labels.npy", "a label without a class", npy(np.full(12, 7)), "…/labels.npy…labels 7..7, but there are 3 classes (0..2)…"),
    Case("store/labels.npy", "two labels swapped", npy(np.array([1, 0, *(np.arange(10) + 2) % 3])), "…/store was changed after it was prepared…"),
    Case("store/labels.npy", "a pickle", npy(np.array([print] * 12, object)), "…/labels.npy is damaged or cut off (Object arrays cannot be loaded when allow_pickle=False)…"),
    Case("store/test.npy", "a folder in its place", None, "…/test.npy is damaged or cut off (…Is a directory…)…"),
    Case("latents/latents.json", "a number as the path of the images", edited(pixels_path=7), "…/latents.json: pixels_path: Input should be a valid string (got 7); encode the store again: taildiff data encode … --overwrite"),
    Case("latents/latents.json", "a different VAE scaling", lambda data: data.replace(b'"scaling": 0.5', b'"scaling": 0.6'), "…/latents.json was changed or is damaged: its checksum does not match its content (only pixels_path may be edited); encode the store again…"),
    Case("latents/moments.npy", "cut off", cut, "…/moments.npy is damaged or cut off (…); encode the store again…"),
    Case("latents/moments.npy", "one bit of a number flipped", flipped, "…/latents was changed after it was encoded (its moments, labels or class names do not fit the hash in latents.json)…"),
    Case("latents/test.npy", "other images held out", npy(np.arange(12) < 2), "…/latents was changed after it was encoded…"),
    Case("weights", "cut off", cut, "…/weights/ema-0000004.safetensors is damaged or not a safetensors file: …"),
    Case("weights", "one bit of a number flipped", flipped, "…/weights/ema-0000004.safetensors is damaged: its checksum does not match its content"),
    Case("weights", "a pickle", lambda _: PICKLE, "…/weights/ema-0000004.safetensors is damaged or not a safetensors file: …"),
    Case("weights", "a header of 2^60 bytes announced", lambda data: struct.pack("<Q", 2**60) + data[8:], "…/weights/ema-0000004.safetensors is damaged or not a safetensors file: …"),
    Case("weights", "tensors of another program", safetensors({"w": TENSOR}, bytes(4)), "…/weights/ema-0000004.safetensors is not a weights file of taildiff (no spec in its metadata)"),
    Case("weights", "a tensor longer than the file", safetensors({"w": TENSOR | {"data_offsets": [0, 2**40]}}), "…/weights/ema-0000004.safetensors is damaged or not a safetensors file: …"),
    Case("checkpoint/model", "cut off", cut, "…/state/step-0000004/model.safetensors is damaged: its … bytes do not match the checksum in state.json"),
    Case("checkpoint/optimizer", "a folder in its place", None, "…/state/step-0000004/optimizer.safetensors cannot be read: Is a directory"),
    Case("checkpoint/state.json", "another step", edited(step=5), "…/state.json is damaged: its checksum does not match its content"),
    Case("checkpoint/state.json", "NaN", edited(seconds=float("nan")), "…/state.json: seconds: Input should be a finite number (got nan)"),
    Case("run.json", "another seed", lambda data: data.replace(b'"seed": 0', b'"seed": 1', 1), "…/run.json was changed or is damaged: its checksum does not match its content (only the paths of store and latents may be changed by hand)…"),
    Case("run.json", "empty", empty, "…/run.json is not readable JSON: …"),
    Case("split.json", "an additional index", lambda data: data.replace(b'"index": [', b'"index": [0,', 1), "…/split.json is damaged, was changed, or is not a split; start a new run to cut it again"),
    Case("split.json", "an integer of 5,000 digits", lambda data: data.replace(b'"index": [', b'"index": [' + b"9" * 5000 + b",", 1), "…/split.json is not readable JSON: an integer of 5000 digits"),
    Case("metrics.jsonl", "a digit changed", lambda data: data.replace(b'"step": 2', b'"step": 3', 1), "…/metrics.jsonl, line 2 is damaged: its checksum does not match its content"),
    Case("table.json", "a value changed", lambda data: data.replace(b'"n_generated": 100', b'"n_generated": 900', 1), "…/table.json was changed or is damaged: its checksum does not match its content. Evaluate again: taildiff evaluate RUN"),
    Case("table.json", "null", lambda _: b"null", "…/table.json: Input should be a valid dictionary or instance of _File. Evaluate again…"),
    Case("images.npz", "cut off", cut, "…/images-g1.npz is damaged (File is not a zip file). Delete it and run taildiff evaluate again"),
    Case("images.npz", "8 TB announced, no data", npz(npy_header((10**7, 10**5, 8, 1))), "…/images-g1.npz is damaged (images.npy announces uint8 (10000000, 100000, 8, 1), which is not what it holds)…"),
    Case("images.npz", "a zip bomb", bomb, "…/images-g1.npz is damaged (…)…"),
    Case("images.npz", "a pickle", npz(npy(np.array([print] * 9, object))(b"")), "…/images-g1.npz is damaged (images.npy announces object (9,), which is not what it holds)…"),
    Case("images.npz", "names that leave the folder (../)", npz(npy_header((0,)), "../../images.npy"), "…/images-g1.npz is damaged (There is no item named 'images.npy' in the archive)…"),
    Case("images.npz", "float images", npz(npy(np.zeros((9, 8, 8, 1)))(b"")), "…/images-g1.npz is damaged (its images are float64 (9, 8, 8, 1), not uint8 (n, height, width, 1 or 3))…"),
    Case("spec.json", "a misspelt field", spec_of("bach_size", 8), "…/spec.json: unknown field 'bach_size': did you mean 'batch_size'?"),
    Case("spec.json", "NaN", lambda data: data.replace(b'"lr":0.001', b'"lr":NaN', 1), "…/spec.json: optimizer.lr: Input should be a finite number (got nan)"),
    Case("spec.json", "an integer of 400 digits", lambda data: data.replace(b'"steps":4', b'"steps":' + b"9" * 400, 1), "…/spec.json is not readable JSON: an integer of 400 digits"),
)  # fmt: skip


def table() -> str:
    """The cases as a Markdown table."""
    rows = [f"| `{case.subject}` | {case.what} | {case.message.replace('|', chr(92) + '|')} |" for case in CASES]
    return "\n".join(["| file | what is wrong | message |", "|---|---|---|", *rows])
