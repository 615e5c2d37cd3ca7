"""`--out` of every verb: a link is followed, wherever it leads, and what is not UTF-8 is refused before any work."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.calls import call, said, tree
from evaluation import tiny
from reporting.fake_runs import make_run
from taildiff.data.store import Store
from taildiff.evaluation import classifier_network

VERBS = ("prepare", "encode", "train", "sample", "sample npz", "evaluate", "report", "compare")
FILES = {"sample npz": ".npz", "report": ".html", "compare": ".md"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, images, and runs."""
    root = tmp_path_factory.mktemp("outputs")
    store = tiny.make_store(root / "store", (12, 12, 12))
    tiny.make_run(root / "run", store)
    np.savez(root / "images.npz", images=store.images, labels=store.labels, class_names=store.meta.class_names)
    make_run(root / "a")
    make_run(root / "b", quality=1.0)
    return root


@pytest.fixture
def command(place: Path, tiny_vae: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], int]:
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))
    colour = place / "colour"
    if not colour.exists():
        images = np.zeros((4, 16, 16, 3), np.uint8)
        np.savez(place / "colour.npz", images=images, labels=[0, 0, 1, 1], class_names=["x", "y"])
        assert call("data", "prepare", "npz", place / "colour.npz", "--out", colour) == 0
    tiny_net = ("--model.channels", 8, "--steps", 1, "--batch-size", 2, "--every.samples", 0)
    words = {
        "prepare": ("data", "prepare", "npz", place / "images.npz"),
        "encode": ("data", "encode", colour, "--vae", tiny_vae),
        "train": ("train", "mnist5k-plain", "--data", place / "store", *tiny_net, "--data.tail", "natural"),
        "sample": ("sample", place / "run", "--per-class", 1, "--sampler", "euler", "--steps", 1),
        "sample npz": (
            "sample",
            place / "run",
            "--per-class",
            1,
            "--sampler",
            "euler",
            "--steps",
            1,
            "--format",
            "npz",
        ),
        "evaluate": ("evaluate", place / "images.npz", "--data", place / "store", "--metrics", "accuracy"),
        "report": ("report", place / "a"),
        "compare": ("compare", place / "a", place / "b"),
    }
    return lambda verb, out: call(*words[verb], "--out", out)


@pytest.mark.parametrize("verb", VERBS)
def test_a_link_is_followed(verb: str, command: Callable[[str, object], int], tmp_path: Path):
    suffix = FILES.get(verb, "")
    links = {"dangling": tmp_path / "elsewhere" / f"new{suffix}"}
    if not suffix:
        links["empty folder"] = tmp_path / "empty"
        links["empty folder"].mkdir()
    for name, target in links.items():
        link = tmp_path / f"{name}{suffix}"
        link.symlink_to(target)
        assert command(verb, link) == 0
        assert link.is_symlink()
        assert target.is_file() if suffix else any(target.iterdir())
        assert not target.is_symlink()
    beside = {path.name.removesuffix("-info") for path in tmp_path.iterdir()}
    assert beside == {*(f"{name}{suffix}" for name in links), "elsewhere", *(["empty"] if not suffix else [])}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("suffix", [".zip", ".png", ".pdf"])
def test_a_name_of_another_kind_of_file_is_refused_before_any_work(
    verb: str, suffix: str, command: Callable[[str, object], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command(verb, tmp_path / f"x{suffix}") == 2
    assert ("--out must end in" if verb in FILES else "a folder is written there; name a folder") in said(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("fill", "run", "--to", "20", "--out"),
        ("data", "export", "store", "--to", "imagefolder", "--out"),
        ("export", "run"),
        ("demo", "--out"),
    ],
    ids=" ".join,
)
def test_a_name_of_a_file_is_refused_by_the_other_verbs(
    words: tuple[str, ...], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    named = [place / word if word in ("run", "store") else word for word in words]
    assert call(*named, tmp_path / "x.zip") == 2
    assert f"x.zip ends in .zip, but a folder is written there; name a folder, such as {tmp_path / 'x'}" in said(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_a_path_that_is_not_utf8_is_refused_before_any_work(
    verb: str, command: Callable[[str, object], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = tree(tmp_path)
    assert command(verb, os.fsdecode(os.fsencode(tmp_path / "x") + b"\xff" + FILES.get(verb, "").encode())) == 2
    assert "--out" in (text := said(capsys))
    assert "x\\xff" in text
    assert "is not UTF-8, as every path that is recorded must be; rename it" in text
    assert tree(tmp_path) == before


def test_a_store_behind_a_link_is_overwritten_at_its_end(
    command: Callable[[str, object], int], place: Path, tmp_path: Path
):
    (tmp_path / "link").symlink_to("real")
    assert command("prepare", tmp_path / "link") == 0
    first = Store.open(tmp_path / "real").meta
    assert call("data", "prepare", "npz", place / "images.npz", "--overwrite", "--out", tmp_path / "link") == 0
    assert (tmp_path / "link").is_symlink()
    assert Store.open(tmp_path / "link").meta == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
