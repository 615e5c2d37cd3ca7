"""An exception where nobody expects one: at a random call inside each verb.

The verb ends in one line that names a log with the traceback, or, where the call was guarded, in another message or
with the right result. After up to `CHAIN` of these one after the other, inputs are as they were, and the same command
gives what it gives undisturbed.
"""

import io
import json
import logging
import os
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import benchmarking
import taildiff
from cli.calls import call
from evaluation import tiny
from reporting.fake_runs import make_run
from taildiff.cli import demo
from taildiff.data.formats import find
from taildiff.data.prepare import prepare
from taildiff.evaluation import classifier_network
from taildiff.spec import DataSpec, UNetSpec

content = benchmarking.load("killing").content
SOURCE = str(Path(taildiff.__file__).parent)
NET = tuple(f"{SOURCE}/{name}" for name in ("cli/main.py", "cli/unexpected.py", "cli/common.py", "text.py"))
"""What prints the error: nobody can catch an exception there."""
TRAIN = (*("--data", "store", "--data.tail", "natural", "--model.channels", "8", "--steps", "6", "--batch-size", "4"),
         *("--every.save", "2", "--every.log", "1"))  # fmt: skip
DRAW = ("--guidance", "1", "--steps", "2")
VERBS: dict[str, tuple[str, ...]] = {
    "data prepare": ("data", "prepare", "folder", "photos", "--out", "new", "--size", "8"),
    "data show": ("data", "show", "store", "--verify"),
    "data encode": ("data", "encode", "store", "--vae", "vae", "--out", "latents"),
    "train": ("train", "mnist5k-plain", *TRAIN, "--out", "trained"),
    "sample": ("sample", "run", "--out", "drawn", "--per-class", "2", *DRAW),
    "evaluate": ("evaluate", "run", "--per-class", "4", *DRAW),
    "compare": ("compare", "a", "b", "--out", "table.csv"),
    "report": ("report", "a", "b", "--out", "page.html"),
    "export": ("export", "run", "exported"),
    "data export": ("data", "export", "store", "--to", "imagefolder", "--out", "files"),
    "fill": ("fill", "run", "--add", "2", "--keep-rejected", "--out", "filled", *DRAW),
    "gallery": ("gallery", "a", "--out", "gallery.html"),
    "study": ("study", "run", "study.toml"),
    "recipes": ("recipes",),
    "demo": ("demo", "--out", "demo"),
}
NEW = "sample", "export", "data export"
"""These refuse an output that exists."""
STUDY = """
title = "Two runs"
[seeds]
training = [0]
[[datasets]]
name = "halves"
recipe = "mnist5k-plain"
data = "store"
changes = { model.channels = [8], batch_size = 4, data.tail = "natural" }
[[methods]]
name = "plain"
[[methods]]
name = "cbdm"
[budget]
steps = 2
equal = ["steps"]
[selection]
metric = "accuracy"
[evaluation]
guidance = [1]
per_class = 2
metrics = ["accuracy"]
[evaluation.sampling]
sampler = "euler"
steps = 1
"""
CHAIN = 5


class InjectedError(Exception):
    """What nobody expects."""


def attempt(args: tuple[str, ...], at: int | None = None) -> tuple[int, str, int]:
    """Run a verb in a child process, raising at call number `at` inside taildiff; exit code, stderr, calls.

    Calls are counted up to `at`; all of them if it is 0, none if it is None.
    """
    counted, wrote = os.pipe()
    errors = Path("stderr.txt").absolute()
    if not (process := os.fork()):
        code = 99
        try:
            code = _child(args, at, wrote, errors)
        finally:
            os._exit(code)
    os.close(wrote)
    with os.fdopen(counted) as file:
        calls = int(file.read() or 0)
    _, status = os.waitpid(process, 0)
    text = errors.read_text()
    errors.unlink()
    return os.waitstatus_to_exitcode(status), text, calls


def _child(args: tuple[str, ...], at: int | None, wrote: int, errors: Path) -> int:
    calls = 0

    def profile(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(SOURCE) and name not in NET:
            calls += 1
            if calls == at:
                raise InjectedError("nobody expects this")  # which ends profiling

    logging.getLogger("taildiff").handlers.clear()
    with errors.open("w") as sys.stderr, io.StringIO() as sys.stdout:
        sys.setprofile(None if at is None else profile)
        code = call(*args)
        sys.setprofile(None)
    os.write(wrote, str(calls).encode())
    return code


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_vae: Path) -> Path:
    """What all verbs read; it was made at `here` beside it, so that paths which a run records lead there."""
    root = tmp_path_factory.mktemp("inputs") / "here"
    store = tiny.make_store(root / "store", (12, 12, 12))
    tiny.make_run(root / "run", store)
    rng = np.random.default_rng(0)
    for label in "ab":
        (root / "photos" / label).mkdir(parents=True)
        for k in range(5):
            Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(root / "photos" / label / f"{k}.png")
    images = rng.integers(0, 256, (10, 8, 8, 1), np.uint8), np.arange(10)
    for k, name in enumerate("ab"):
        make_run(root / name, images=images, quality=k)
    shutil.copytree(tiny_vae, root / "vae")
    (root / "study.toml").write_text(STUDY)
    return root.rename(root.with_name("inputs"))


def points(verb: str, count: int, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Inject at `count` random calls of a verb; counts of how it ended."""
    args, ends, rng = VERBS[verb], Counter[str](), random.Random(verb)

    place = inputs.with_name("here")  # always the same, as paths are recorded
    monkeypatch.setenv("TAILDIFF_CACHE", str(inputs.with_name("cache")))

    def fresh() -> None:
        monkeypatch.chdir(inputs)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(inputs, place)
        monkeypatch.chdir(place)

    fresh()
    code, text, calls = attempt(args, 0)
    assert code == 0, text
    expected = content(place)
    while ends.total() < count:
        fresh()
        tried = [verb]
        for _ in range(min(CHAIN, count - ends.total())):
            at = rng.randrange(1, calls + 1)
            code, text, reached = attempt(args, at)
            tried.append(f"call {at} of {calls}: {text}")
            if reached == at:  # a verb that resumes needs fewer calls
                ends[_ended(code, text, "\n".join(tried))] += 1
            if code == 0:
                break
        code, text, _ = attempt(args)  # also after success: an unreadable file may have been left out, with a note
        tried.append(f"and again: {text}")
        finished = verb in NEW and "exist" in text  # all was written before
        assert code == 0 or finished, "\n".join(tried)
        got = content(place)
        wrong = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
        assert not wrong, "\n".join([*tried, f"{wrong} differ"])
    return ends


def _ended(code: int, text: str, case: str) -> str:
    """How an injected verb ended: in one line with a log, in a message of our own, or with its result."""
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in text, f"{case}: {text}"
    if code == 0:
        assert not errors, f"{case}: {text}"
        return "completed"
    assert len(errors) == 1, f"{case}: exit code {code}: {text}"
    if code == 2:
        return "own message"
    log = re.search(r"The traceback is in (\S+\.log): please", errors[0])
    assert code == 1, f"{case}: exit code {code}: {text}"
    assert log, f"{case}: {text}"
    assert "InjectedError: nobody expects this" in Path(log[1]).read_text(), case
    return "one line and a log"


FAST = "recipes", "compare"


@pytest.mark.parametrize("verb", FAST)
def test_a_few_points(verb: str, inputs: Path, monkeypatch: pytest.MonkeyPatch):
    assert points(verb, 2, inputs, monkeypatch).total() == 2


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_fifty_points(
    verb: str, inputs: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (3, 3))
    if verb == "demo":
        shrink_demo(monkeypatch)
    ends = points(verb, int(os.environ.get("TAILDIFF_POINTS", "50")), inputs, monkeypatch)
    record_property(verb, json.dumps(ends))
    print(verb, dict(ends))  # noqa: T201


def shrink_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and tiny images, a tiny network and no charts, as only what joins the parts of a demo is new."""
    plan, small = demo.planned, demo.evaluation
    tiny = {"steps": 2, "batch_size": 4, "model": UNetSpec(channels=(8,)), "data": DataSpec(resample=0.1)}
    monkeypatch.setattr(demo, "planned", lambda name, _: plan(name, True).model_copy(update=tiny))
    few = {"per_class": 4, "guidance": (1.0,)}
    monkeypatch.setattr(demo, "evaluation", lambda _: small(True).model_copy(update=few))
    monkeypatch.setattr(
        demo, "embedded_digits", lambda root: prepare(find("folder", Path("photos")), root / "mnist5k", 8)
    )
    monkeypatch.setattr(demo, "introduce", lambda _: None)
