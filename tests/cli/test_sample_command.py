"""`taildiff sample`: every image where it belongs, whatever the classes are called."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import taildiff
from cli.calls import call, said, tree
from evaluation import tiny
from taildiff.io import png
from taildiff.io.atomic import write_json
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir
from taildiff.sampling import generate
from taildiff.sampling.folders import GRID, NOTES, folder_names, info_of, write_images
from taildiff.spec import SamplingSpec

FAST = ("--sampler", "euler", "--steps", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    root = tmp_path_factory.mktemp("sample")
    return tiny.make_run(root / "run", tiny.make_store(root / "store", (6, 4, 2)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_by_class_and_the_same_as_one_file(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, file = tmp_path / "new" / "drawn", tmp_path / "drawn.npz"
    assert call("sample", run.root, "--per-class", 3, *FAST, "--out", out) == 0
    text = said(capsys)
    assert f"9 images at guidance 1.5 in {out}" in text
    assert f"taildiff evaluate {run.root}" in text
    names = {f"{name}/{n:05d}.png" for name in tiny.NAMES for n in range(3)}
    assert set(tree(out)) == names | set(tiny.NAMES)
    assert sorted(tree(out.parent / "drawn-info")) == ["grid.png"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["drawn", "drawn-info"]

    assert call("sample", run.root, "--per-class", 3, *FAST, "--format", "npz", "--omega", 0.5, "--out", file) == 0
    with np.load(file) as archive:
        assert archive["images"].shape == (9, 8, 8, 1)
        assert archive["class_names"].tolist() == list(tiny.NAMES)
        assert archive["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for i, image in enumerate(archive["images"]):
            assert (pixels(out / tiny.NAMES[i // 3] / f"{i % 3:05d}.png") == image[..., 0]).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.npz", "new"]


def test_the_suffix_of_out_chooses_the_format(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ("sample", run.root, "--per-class", 1, *FAST)
    assert call(*words, "--out", tmp_path / "drawn.NPZ") == 0
    with np.load(tmp_path / "drawn.NPZ") as archive:
        assert archive["images"].shape == (3, 8, 8, 1)
    (tmp_path / "link").symlink_to("linked.npz")
    assert taildiff.sample(run.root, out=tmp_path / "link", per_class=1, steps=1).is_file()
    assert call(*words, "--out", tmp_path / "v1.5") == 0
    assert (tmp_path / "v1.5").is_dir()
    said(capsys)
    assert call(*words, "--out", tmp_path / "x.npz", "--dry-run") == 0
    assert f"as npz to {tmp_path / 'x.npz'}" in said(capsys)
    assert call(*words, "--out", tmp_path / "x.npz", "--format", "png") == 2
    assert f"x.npz ends in .npz, but a folder is written there; name a folder, such as {tmp_path / 'x'}" in said(capsys)
    assert not (tmp_path / "x.npz").exists()


def test_a_class_named_twice_is_sampled_once_and_alike(run: RunDir, tmp_path: Path):
    assert call("sample", run.root, "--per-class", 2, *FAST, "--out", tmp_path / "all") == 0
    assert (
        call("sample", run.root, "--per-class", 2, *FAST, "--classes", "top", "left", "top", "--out", tmp_path / "two")
        == 0
    )
    assert sorted(tree(tmp_path / "two")) == sorted(
        ["left", "left/00000.png", "left/00001.png", "top", "top/00000.png", "top/00001.png"]
    )
    for name in ("left/00001.png", "top/00000.png"):
        assert (pixels(tmp_path / "two" / name) == pixels(tmp_path / "all" / name)).all()
    assert pixels(tmp_path / "two-info" / "grid.png").shape == (2 * 8 + 2, 2 * 8 + 2)


def test_a_dry_run_draws_nothing(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ("sample", run.root, "--per-class", 5, "--no-clip", *FAST, "--dry-run", "--out", tmp_path / "x" / "y")
    assert call(*command, "--exponent", 3) == 0
    shown = capsys.readouterr().out
    spec = SamplingSpec.model_validate_json(shown[: shown.rindex("}") + 1])
    assert spec == SamplingSpec(sampler="euler", steps=2, clip=False, exponent=3)
    assert "15 images, 5 per class" in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--spacing", "karras", "--exponent", 3), "exponent applies to spacing power only; remove it"),
        (("--variance", "fixedlarge"), "variance applies to sampler ancestral only; remove it"),
        (("--spacing", "grid"), "spacing grid needs integer timesteps"),
    ],
)
def test_sampling_that_is_impossible_is_one_error(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[object, ...], message: str
):
    assert call("sample", run.root, "--out", tmp_path / "drawn", *args) == 2
    assert message in said(capsys)
    assert not list(tmp_path.iterdir())


def test_an_impossible_place_is_found_before_drawing(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(generate, "load_model", lambda *_: pytest.fail("it began to work"))
    (tmp_path / "file").write_text("")
    assert call("sample", run.root, "--out", tmp_path / "file" / "x") == 2
    assert call("sample", run.root, "--format", "npz", "--out", tmp_path / "file" / "x.npz") == 2


def marked(classes: int, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 2, 2, 3) that show their class in red and their number in green."""
    images = np.zeros((classes, per_class, 2, 2, 3), np.uint8)
    images[..., 0] = np.arange(classes)[:, None, None, None]
    images[..., 1] = np.arange(per_class)[None, :, None, None]
    return images.reshape(-1, 2, 2, 3), np.repeat(np.arange(classes), per_class)


@pytest.mark.parametrize(("classes", "per_class"), [(3, 2), (3, 40), (50, 3), (50, 20), (1, 1)])
def test_the_grid_has_a_row_per_class(classes: int, per_class: int, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "taildiff")
    images, labels = marked(classes, per_class)
    write_images(tmp_path / "out", images, labels, [f"c{i}" for i in range(classes)])
    rows, columns = min(classes, 40), min(per_class, 16)
    grid = pixels(tmp_path / "out-info" / GRID)
    assert grid.shape == (4 * rows - 2, 4 * columns - 2, 3)
    tiles = grid[::4, ::4]
    assert (tiles[..., 0] == np.arange(rows)[:, None]).all()
    assert (tiles[..., 1] == np.arange(columns)).all()
    assert len(list((tmp_path / "out").glob("*/*.png"))) == classes * per_class
    cut = f"{GRID} shows {columns} images of {rows} classes"
    assert (cut in caplog.text) == (classes > 40 or per_class > 16)
    assert sorted(tree(tmp_path / "out-info")) == [GRID] + [NOTES] * (cut in caplog.text)


HOSTILE = [
    "../x",
    "/abs",
    "a/b",
    "a_b",
    "grid.png",
    "..",
    ".",
    "",
    " ",
    "a\\b",
    "c:",
    "nul",
    "x\0y",
    ".git",
    "A",
    "a",
    "é" * 200,
]


def test_hostile_class_names_stay_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "taildiff")
    images, labels = marked(len(HOSTILE), 2)
    write_images(tmp_path / "in" / "out", images, labels, HOSTILE)
    out = tmp_path / "in" / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["out", "out-info"]
    assert pixels(info_of(out) / GRID).shape == (4 * len(HOSTILE) - 2, 6, 3)
    for label, place in enumerate(folder_names(HOSTILE)):
        assert (pixels(out / place / "00001.png")[0, 0] == (label, 1, 0)).all()
    assert "class '../x' is in the folder ___x" in caplog.text
    assert "class '../x' is in the folder ___x\n" in (info_of(out) / NOTES).read_text(encoding="utf-8")


def test_a_file_in_the_place_of_the_grid_is_found_before_drawing(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "x-info").write_text("")
    assert call("sample", run.root, "--out", tmp_path / "x") == 2
    assert "x-info is a file" in said(capsys)


@given(
    st.lists(st.text(max_size=260).filter(lambda name: not any("\ud800" <= c <= "\udfff" for c in name)), unique=True)
)
def test_folders_are_safe_and_no_two_the_same(names: list[str]):
    folders = folder_names(names)
    assert len({folder.casefold() for folder in folders}) == len(names)
    for folder in folders:
        assert 0 < len(os.fsencode(folder)) <= 255
        assert not set(folder) & set('/\\:*?"<>|\0')
        assert not folder.startswith(".")
        assert not folder.endswith((".", " "))
    assert folder_names(folders) == folders


def test_ordinary_names_are_kept():
    names = ("cat", "Dog", "0", "sea lion", "naïve café", "日本", "a.b")
    assert folder_names(names) == names


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[int] = []
    real: Callable[[np.ndarray], bytes] = png.png

    def some(image: np.ndarray) -> bytes:
        done.append(1)
        if len(done) > 3:
            raise error
        return real(image)

    monkeypatch.setattr(png, "png", some)
    with pytest.raises(error):
        write_images(tmp_path / "out", *marked(3, 2), ["a", "b", "c"])
    assert len(done) == 4
    assert not list(tmp_path.iterdir())


def test_foreign_weights_are_not_evaluated_under_this_name(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = tiny.make_run(tmp_path / "other", tiny.make_store(tmp_path / "store", (6, 4, 2)))
    info = json.loads(other.spec.read_text())
    info["spec"] |= {"seed": 7, "steps": 9, "every": {"log": 99}}  # steps and intervals may change
    write_json(other.spec, add_checksum(info))
    assert call("evaluate", other.root) == 2
    assert "other settings (seed)" in said(capsys)
    info["spec"]["seed"], info["facts"]["counts"] = 0, [6, 4, 3]
    write_json(other.spec, add_checksum(info))
    assert call("evaluate", other.root) == 2
    assert "other data" in said(capsys)
