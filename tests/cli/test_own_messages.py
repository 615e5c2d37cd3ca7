"""Mistakes that once ended in a traceback: each has a message of its own and exit code 2."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.calls import call, said
from evaluation import tiny
from reporting.fake_runs import make_run
from taildiff.errors import CheckpointError, DataError, InputError, RunError
from taildiff.evaluation.extractors.custom import load_function, load_torchscript
from taildiff.evaluation.image_arrays import read_images
from taildiff.evaluation.image_sources import read_statistics
from taildiff.io.home import cache_root, expanded, extractor_cache
from taildiff.models.convert import read_foreign
from taildiff.reporting.load import load
from taildiff.run.layout import RunDir, seconds_at
from taildiff.run.weights import WeightsMeta, read_weights, write_weights
from taildiff.sampling.generate import load_model
from taildiff.spec import SiTSpec, UNetSpec

BIG = str(10**15)
TRAIN = ("train", "mnist5k-plain", "--data", "store", "--data.tail", "natural", "--out", "x")
SIT = ("train", "mnist5k-sit-ccua", "--data", "store", "--data.tail", "natural", "--out", "x")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    tiny.make_run(root / "run", tiny.make_store(root / "store", (40, 40, 40)))
    return root


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("evaluate", "run", "--seeds", "nan"), "--seeds are whole numbers such as 0,1,2, not nan"),
        (("evaluate", "run", "--seeds", "inf"), "--seeds are whole numbers"),
        (("evaluate", "run", "--seeds", "1e300"), "seeds"),
        (("evaluate", "run", "--per-class", BIG), "per_class: Input should be less than or equal to 1000000"),
        (("evaluate", "run", "--k", BIG), "k: Input should be less than or equal to 1000000"),
        (("evaluate", "run", "--steps", BIG), "steps: Input should be less than or equal to 100000"),
        (("evaluate", "run", "--features", "a..b:f"), "'a..b' is not the name of a module"),
        (("evaluate", "run", "--features", "../x:f"), "'../x' is not the name of a module"),
        (("evaluate", "run", "--features", "os:getcwd"), "--features os:getcwd failed: TypeError"),
        (("evaluate", "run", "--features", "torchscript:~nobody-here/x"), "the home folder that ~ stands for is"),
        (("sample", "run", "--out", "x", "--per-class", BIG), "more than 100,000,000: sample in parts"),
        (("sample", "run", "--out", "x", "--per-class", str(10**19)), "more than 100,000,000"),
        (("sample", "run", "--out", "x", "--steps", BIG), "steps: Input should be less than or equal to 100000"),
        ((*TRAIN, "--batch-size", BIG), "a batch of 1,000,000,000,000,000 images takes at least"),
        ((*TRAIN, "--model.channels", "1000000"), "this network takes at least 36,000.0 GB"),
        ((*TRAIN, "--model.blocks", BIG), "this network takes at least"),
        ((*SIT, "--model.depth", BIG), "this network takes at least"),
        ((*TRAIN, "--optimizer.lr", "1e300"), "1e+30"),
        ((*TRAIN, "--optimizer.weight-decay", "1e300"), "1e+30"),
        ((*TRAIN, "--objective.ucl.weight", "1e300"), "1e+30"),
    ],
)
def test_a_mistake_has_its_own_message(
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    message: str,
):
    monkeypatch.chdir(world)
    assert call(*args) == 2
    text = said(capsys)
    assert message in text
    assert "unexpectedly" not in text
    assert not Path("x").exists()


def test_there_is_one_cache_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("TAILDIFF_CACHE", "/own")
    assert (cache_root(), extractor_cache()) == (Path("/own"), Path("/own/extractors"))
    monkeypatch.delenv("TAILDIFF_CACHE")
    assert (cache_root(), extractor_cache()) == (Path("/shared/taildiff"), Path("/shared/taildiff/extractors"))


def test_an_unknown_home_folder_is_named(monkeypatch: pytest.MonkeyPatch):
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.delenv("TAILDIFF_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(InputError, match=r"HOME is not set.*; set TAILDIFF_CACHE to a folder"):
        cache_root()
    with pytest.raises(InputError, match="write the whole path"):
        expanded("~nobody-here/x")


USER_CODE = {
    "raises_at_import": "1 / 0",
    "exits_at_import": "import sys; sys.exit(0)",
    "wrong_syntax": "def f(:",
    "leaves": "import os, sys; sys.path.clear(); os.chdir('/')\nf = None",
    "raises": "def f(x): return {}['x']",
    "exits": "def f(x): raise SystemExit(3)",
    "text": "def f(x): return [['a']] * len(x)",
    "nothing": "def f(x): return [[]] * len(x)",
    "ragged": "def f(x): return [[1], [1, 2]]",
}


@pytest.mark.parametrize("name", USER_CODE)
def test_code_of_the_user_that_raises_or_exits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / f"user_{name}.py").write_text(USER_CODE[name])
    with pytest.raises(InputError, match=f"user_{name}"):
        load_function(f"user_{name}:f", (8, 8, 1))


def test_the_line_of_the_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("user_line.py").write_text("\n\ndef f(x):\n    return x.nothing\n")
    with pytest.raises(InputError, match=r"AttributeError: .*\(.*user_line.py, line 4\)"):
        load_function("user_line:f", (8, 8, 1))


def test_damaged_files_of_torch(tmp_path: Path):
    """Whatever torch raises, the message names the file and never advises to load it unsafely."""
    rng, messages, path = np.random.default_rng(0), list[str](), tmp_path / "bad.pt"
    for legacy in (False, True):
        good = tmp_path / f"good{legacy}.pt"
        values = {"ema": {"w": torch.ones(3, 4), "b": torch.zeros(5)}, "args": torch.zeros(1), "opt": {"step": 3}}
        torch.save(values, good, _use_new_zipfile_serialization=not legacy)
        data = good.read_bytes()
        for _ in range(150):
            changed = bytearray(data)
            for place in rng.integers(0, min(len(data), 700), rng.integers(1, 6)):
                changed[place] = rng.integers(0, 256)
            path.write_bytes(changed[: rng.integers(1, len(data))] if rng.random() < 0.2 else changed)
            try:
                read_foreign(path)
            except CheckpointError as error:
                messages.append(str(error))
    assert len(messages) > 100
    for message in messages:
        assert message.startswith(f"{path} ")
        assert "\n" not in message
        assert not any(word in message.lower() for word in ("weights_only", "trust", "unsafe"))
    torch.save({"ema": {"w": np.float64(1)}}, path)
    with pytest.raises(CheckpointError, match="non-tensor objects: numpy"):
        read_foreign(path)


def test_damaged_torchscript(tmp_path: Path):
    torch.jit.save(torch.jit.script(torch.nn.Flatten()), tmp_path / "good.pt")
    data, rng = (tmp_path / "good.pt").read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 20):
            changed[place] = rng.integers(0, 256)
        (tmp_path / "bad.pt").write_bytes(changed)
        with suppress(InputError):  # some damages change nothing
            load_torchscript(str(tmp_path / "bad.pt"), (8, 8, 1))


@pytest.mark.parametrize("spec", [UNetSpec(channels=(1_000_000,)), UNetSpec(blocks=10**15), SiTSpec(depth=10**15)])
def test_weights_that_describe_an_enormous_network(world: Path, tmp_path: Path, spec: UNetSpec | SiTSpec):
    tensors, meta = read_weights(next((world / "run" / "weights").iterdir()))
    changed: WeightsMeta = meta.model_copy(update={"spec": meta.spec.model_copy(update={"model": spec})})
    shutil.copytree(world / "run", tmp_path / "run")
    (path,) = (tmp_path / "run" / "weights").iterdir()
    write_weights(path, tensors, changed)
    with pytest.raises(CheckpointError, match=r"safetensors describes a network of at least [\d,]+ parameters"):
        load_model(RunDir(tmp_path / "run"))


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.full((2, 4, 4), "a"), "labels": np.zeros(2, int)},
        {"images": np.full((2, 4, 4), "a", object), "labels": np.zeros(2, int)},
        {"images": np.zeros((2, 4, 4), complex), "labels": np.zeros(2, int)},
        {"images": np.zeros((2, 4, 4), "M8[s]"), "labels": np.zeros(2, int)},
        {"images": np.zeros((2, 0, 4), np.uint8), "labels": np.zeros(2, int)},
        {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array(["a", "b"])},
        {"images": np.full((2, 4, 4), np.nan), "labels": np.zeros(2, int)},
    ],
)
def test_npz_of_text_and_other_things(tmp_path: Path, arrays: dict[str, np.ndarray]):
    np.savez(tmp_path / "a.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"a\.npz"):
        read_images(tmp_path / "a.npz", ())


@pytest.mark.parametrize("n", [np.nan, np.inf, -1, -0.5, 1.5, 1e300, "12", "x", [1, 2], [], 1j, True])
def test_statistics_of_an_odd_number_of_images(tmp_path: Path, n: object):
    np.savez(tmp_path / "s.npz", mu=np.zeros(3), sigma=np.eye(3), n=np.array(n))
    with pytest.raises(DataError, match=r"s\.npz: n is .*, not a number of images; write the statistics again"):
        read_statistics(tmp_path / "s.npz")


@pytest.mark.parametrize("n", [0, 5, 5.0, [7], np.uint8(9)])
def test_statistics_with_a_number_of_images(tmp_path: Path, n: object):
    np.savez(tmp_path / "s.npz", mu=np.zeros(3), sigma=np.eye(3), n=np.array(n))
    found = read_statistics(tmp_path / "s.npz")
    assert found is not None
    assert found.n == int(np.array(n).reshape(()))


@pytest.mark.parametrize(
    "wrong",
    [{"step": -1}, {"step": 10**30}, {"step": "x"}, {"images": -5}, {"seconds": -1.0}, {"seconds": float("inf")}],
)
def test_impossible_lines_of_the_log(tmp_path: Path, wrong: dict[str, float]):
    run = make_run(tmp_path / "run")
    with run.metrics.open("a") as file:
        file.write(json.dumps({"step": 1, "images": 1, "seconds": 1.0} | wrong) + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line \d+ is damaged"):
        load([run])


def test_an_infinite_step_is_skipped(tmp_path: Path):
    (tmp_path / "log").write_text('{"step": Infinity, "seconds": 1}\n{"step": 2, "seconds": 3}\n')
    assert seconds_at(tmp_path / "log", 5) == 3
