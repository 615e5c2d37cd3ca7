"""The Python of README and of every page is run by a test: here, or by the test that `ELSEWHERE` names."""

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import taildiff
from evaluation import tiny
from shown_code import blocks as plain_blocks
from shown_code import few_photos, little_work, run
from taildiff import study
from taildiff.data.store import Store

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:python|\{code-block\} python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ELSEWHERE = {
    "docs/api.md": "test_api_page.py",
    "docs/extending.md": "test_extending.py",
    "docs/quickstart.md": "test_quickstart_page.py",
}
"""Pages whose plain blocks a test of their own runs."""
HERE = {"README.md", "docs/extractors.md", "docs/latents.md", "docs/other-tools.md"}


def blocks(page: str) -> list[str]:
    """All Python of a page."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def more_blocks(page: str) -> list[str]:
    """The blocks that are not in the run of a page from top to bottom."""
    return [block for block in blocks(page) if block not in plain_blocks(ROOT / page)]


def test_no_page_has_python_that_no_test_runs():
    pages = {str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))}
    assert {page for page in pages if blocks(page)} == {*ELSEWHERE, *HERE}
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / "tests" / "docs" / test).read_text(encoding="utf-8")


def test_what_needs_two_devices_or_hours_uses_names_that_exist():
    devices, whole_study = more_blocks("docs/api.md")
    ast.parse(devices)
    calls = [node.func for node in ast.walk(ast.parse(whole_study)) if isinstance(node, ast.Call)]
    named = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    assert named == {"new", "run", "report"}
    assert all(hasattr(study, name) for name in named)


@pytest.fixture
def digits_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> taildiff.Run:
    """A run of one step, runs/ccua of the working directory."""
    little_work(tmp_path, monkeypatch)
    return taildiff.train("mnist5k-ccua", out="runs/ccua", steps=1, batch_size=4)


@pytest.mark.slow
def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    little_work(tmp_path, monkeypatch)
    less = {"steps=800": "steps=1, batch_size=4", "[9] * 16": "[9] * 2", "(1.0, 2.0)": "(1.0,), per_class=2, steps=1"}
    first, losses = blocks("README.md")
    assert all(much in first for much in less)
    names = run([first], less, "README.md")
    assert names["images"].shape == (2, 1, 28, 28)
    features = {name: torch.randn(8, 4) for name in ("null_features", "conditional", "unconditional")}
    names = features | {"s": torch.rand(8), "loss": torch.zeros(())}
    exec(compile(losses, "README.md", "exec"), names)
    assert names["loss"].isfinite()


@pytest.mark.slow
def test_other_tools(digits_run: taildiff.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    taildiff.export(digits_run, "exported/ccua", guidance=1.5, steps=1, grid=0)
    code = blocks("docs/other-tools.md")
    names = run(code[:2], {}, "docs/other-tools.md")
    again = names["pipe"](["8", "9", "9"], guidance_scale=1.5, seed=0).images
    assert [each.tobytes() for each in again] == [each.tobytes() for each in names["images"]]
    run(code[2:], {'"runs/ccua", steps=100': '"runs/logged", steps=1, batch_size=4'}, "docs/other-tools.md")
    assert list((tmp_path / "runs" / "logged" / "tensorboard").glob("events*"))


@pytest.mark.slow
def test_a_folder_of_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    little_work(tmp_path, monkeypatch)
    few_photos(tmp_path / "photos")
    (code,) = more_blocks("docs/quickstart.md")
    less = {'out="runs/photos")': 'out="runs/photos", steps=1, batch_size=4)', "per_class=8": "per_class=1, steps=1"}
    assert all(much in code for much in less)
    run(["import taildiff", code], less, "docs/quickstart.md")
    assert len(list((tmp_path / "images").glob("*/*.png"))) == 2


def test_features_of_your_own():
    names = run(blocks("docs/extractors.md")[:1], {}, "docs/extractors.md")
    assert names["brightness"](np.ones((2, 8, 8, 3), np.uint8)).tolist() == [[1, 1, 1]] * 2


@pytest.mark.slow
def test_an_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.chdir(tmp_path)
    tiny.make_store(tmp_path / "data" / "mnist5k", (4, 4, 4))
    names = run(blocks("docs/extractors.md")[1:], {}, "docs/extractors.md")
    assert names["features"].shape == (12, 1280)


@pytest.mark.slow
def test_latents(tmp_path: Path, tiny_vae: Path, make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "data" / "photos", size=16)
    shutil.copytree(tiny_vae, tmp_path / "vae")
    first, memory = blocks("docs/latents.md")
    assert run([first], {}, "docs/latents.md")["mean"].shape == (8, 4, 2, 2)
    less = {"layers_per_block=2": "layers_per_block=1, norm_num_groups=4, latent_channels=4"}
    less |= {"(128, 256, 512, 512)": "(8, 8, 8, 8)"}
    assert all(much in memory for much in less)
    for argument in ("make", "1"):
        monkeypatch.setattr("sys.argv", ["memory.py", argument])
        run([memory], less, "docs/latents.md")
