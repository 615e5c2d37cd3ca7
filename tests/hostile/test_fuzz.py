"""Thousands of broken files: each gives one error that names the file, or the right result.

Everything that training and sampling read carries a checksum, so the result must be equal or an error. In a spec, which
is written by hand, another valid value is another valid spec. A broken image is skipped and named, or another image.
"""

import copy
import random
import shutil
import warnings
import zlib

import pytest

from hostile.subjects import Subject
from taildiff.errors import TaildiffError

NAMES = (
    *(f"store/{name}" for name in ("store.json", "images.npy", "labels.npy", "test.npy")),
    *(f"latents/{name}" for name in ("latents.json", "moments.npy", "labels.npy", "test.npy")),
    *(f"checkpoint/{name}" for name in ("model", "ema", "optimizer", "state.json")),
    *("weights", "run.json", "split.json", "metrics.jsonl", "spec.json", "table.json", "images.npz"),
    *("photo.png", "photo.jpg", "photo.webp", "photo.tif", "photo.bmp"),
    *(f"source/{name}" for name in ("idx", "idx.gz", "cifar", "npz", "csv", "list")),
    *(f"source/{name}" for name in ("val_annotations", "words", "val.txt", "meta.mat", "train2018")),
)


def attack(subject: Subject, cases: int) -> dict[str, int]:
    """Break the file in `cases` ways and read it each time; counts of the outcomes."""
    good, expected = subject.path.read_bytes(), copy.deepcopy(subject.read())
    counts = {"refused": 0, "right": 0}
    try:
        for case in range(cases):
            rng = random.Random(zlib.crc32(f"{subject.name} {case}".encode()))
            damage = subject.damages[case % len(subject.damages)]
            broken = damage(good, rng)
            subject.path.write_bytes(broken)
            counts[outcome(subject, expected, f"case {case}, {damage.__name__}")] += 1
        subject.path.unlink()
        counts[outcome(subject, expected, "missing")] += 1
        subject.path.mkdir()
        counts[outcome(subject, expected, "a folder in its place")] += 1
    finally:
        shutil.rmtree(subject.path) if subject.path.is_dir() else subject.path.unlink(missing_ok=True)
        subject.path.write_bytes(good)
    assert subject.same(subject.read(), expected)
    return counts


def outcome(subject: Subject, expected: object, case: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = subject.read()
    except TaildiffError as error:
        message = str(error)
        assert any(name in message for name in (str(subject.path), *subject.names)), f"{case}: names no file: {message}"
        assert len(message) < 3000, f"{case}: too long: {message[:300]}"
        return "refused"
    except Exception as error:
        raise AssertionError(f"{subject.name}, {case}: {type(error).__name__}: {str(error)[:300]}") from error
    assert subject.same(got, expected), f"{subject.name}, {case}: a wrong result, silently"
    return "right"


@pytest.mark.parametrize("name", NAMES)
def test_some_broken_files(subjects, name):
    counts = attack(subjects[name], 44)
    assert counts["refused"] > 0 or name.startswith("photo")  # images are skipped and named


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_broken_files(subjects, name):
    cases = 200 if name.startswith(("photo", "source")) else 1000
    counts = attack(subjects[name], cases)
    assert sum(counts.values()) == cases + 2
    assert counts["refused"] > 0 or name.startswith("photo")  # images are skipped and named
