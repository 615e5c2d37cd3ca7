"""The front door: what `import taildiff` offers, on tiny data."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

import taildiff
from evaluation import tiny
from taildiff import build
from taildiff.api.fields import EvaluationFields, RunFields, SamplingFields
from taildiff.api.training import with_changes
from taildiff.data.store import Store
from taildiff.errors import InputError, RunError, SpecError
from taildiff.evaluation import classifier_network
from taildiff.run.layout import RunDir
from taildiff.sampling.generate import generate, load_model
from taildiff.spec import EvalSpec, RunSpec, SamplingSpec, SiTSpec, Spec

FAST: dict[str, Any] = {"sampler": "euler", "steps": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api")
    return tiny.make_run(root / "run", tiny.make_store(root / "store", (40, 40, 40), (10, 10, 10))).root


@pytest.fixture
def _quick_classifier(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (20, 20))
    monkeypatch.setattr(classifier_network, "_BATCH", 32)


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_taildiff_imports_nothing_heavy():
    heavy = ("torch", "pydantic", "numpy", "rich", "tyro", "scipy", "PIL", "matplotlib", "diffusers")
    code = f"import sys, taildiff; dir(taildiff); print([name for name in {heavy} if name in sys.modules])"
    assert python(code) == "[]\n"


def test_most_of_the_front_door_opens_without_torch():
    code = "import sys, taildiff; [getattr(taildiff, name) for name in taildiff.__all__ if name != 'Model']"
    assert python(f"{code}; print('torch' in sys.modules)") == "False\n"


def test_all_public_names_are_there_and_described():
    assert set(taildiff.__all__) - {"__version__", "study"} == set(taildiff._MODULES)
    assert dir(taildiff) == sorted(taildiff.__all__)
    for name in taildiff.__all__:
        assert getattr(taildiff, name)
        if name != "__version__":
            assert inspect.getdoc(getattr(taildiff, name))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        taildiff.trian  # noqa: B018


@pytest.mark.parametrize(
    ("fields", "spec"), [(RunFields, RunSpec), (SamplingFields, SamplingSpec), (EvaluationFields, EvalSpec)]
)
def test_typed_keywords_are_the_fields_of_the_spec(fields: type, spec: type[Spec]):
    own = {name: info.annotation for name, info in spec.model_fields.items()}
    flat = {name for name, kind in own.items() if not _is_spec(kind) and name != "recipe"}
    if fields is EvaluationFields:
        flat |= set(SamplingSpec.model_fields)
    assert set(get_type_hints(fields)) == flat
    for name, kind in get_type_hints(fields).items():
        if "Literal" in str(kind) and name in own:
            assert set(get_args(kind)) == set(get_args(own[name]))


def _is_spec(kind: Any) -> bool:
    return any(isinstance(part, type) and issubclass(part, Spec) for part in (kind, *get_args(kind)))


def test_training_stops_resumes_and_is_a_path(tiny_spec: RunSpec, tiny_store: Store, tmp_path: Path):
    stages: list[tuple[str, int, int]] = []
    whole = taildiff.train(tiny_spec, out=tmp_path / "whole", data=tiny_store, steps=6)
    first = taildiff.train(tiny_spec, out=str(tmp_path / "run"), data=str(tiny_store.root), steps=6, stop_at=2)
    assert (first.path, first.steps, first.outcome and first.outcome.reason) == (tmp_path / "run", [2], "stop-at")
    run = taildiff.train(tiny_spec, out=first, steps=6, progress=lambda *stage: stages.append(stage))
    assert run == first == taildiff.Run(os.fspath(first))
    assert repr(run) == f"Run(path={tmp_path / 'run'!r})"
    assert stages[-1] == ("training tiny", 6, 6)
    assert [line["step"] for line in run.metrics] == [2, 3, 4, 6]
    assert set(run.metrics[0]) >= {"step", "images", "seconds", "loss", "terms"}
    assert "crc" not in run.metrics[0]
    assert run.info.spec.steps == 6
    assert torch.equal(run.load().sample(0, **FAST), whole.load().sample(0, **FAST))
    assert not torch.equal(run.load().sample(0, **FAST), run.load("raw").sample(0, **FAST))


def test_recipes_by_name_file_and_method(tiny_store: Store, tmp_path: Path):
    changes = {"data.ratio": 0.5, "model": {"channels": (8, 16)}}
    run = taildiff.train(
        "mnist5k-plain",
        out=tmp_path / "a",
        data=tiny_store,
        method="cbdm",
        changes=changes,
        batch_size=4,
        steps=2,
        stop_at=1,
    )
    spec = run.info.spec
    assert (spec.data.tail, spec.data.ratio, spec.objective.cbdm.weight) == ("exp", 0.5, 1)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    again = taildiff.train(tmp_path / "spec.json", out=tmp_path / "b", data=tiny_store, stop_at=1)
    assert again.info.spec == spec
    auto = taildiff.train("auto-ccua", out=tmp_path / "c", data=tiny_store, batch_size=4, stop_at=1)
    assert auto.info.spec.recipe == "auto-ccua"


def test_embedded_recipes_need_no_data(tmp_path: Path):
    run = taildiff.train("mnist5k-plain", out=tmp_path / "run", batch_size=2, stop_at=1)
    assert run.info.facts.class_names == tuple("0123456789")


def test_changes_nested_dotted_and_whole():
    spec = RunSpec()
    changed = with_changes(spec, {"objective.ucl.weight": 0.2, "data": {"tail": "exp", "ratio": 0.1}, "seed": 3})
    assert (changed.objective.ucl.weight, changed.data.tail, changed.data.ratio, changed.seed) == (0.2, "exp", 0.1, 3)
    assert changed.model == spec.model
    sit = SiTSpec(depth=2, width=32, heads=2)
    assert with_changes(spec, {"model": sit}).model == sit
    assert with_changes(spec, {"model": sit.model_dump()}).model == sit
    assert with_changes(spec, {"data": {"resample": 0.5}}).data.resample == 0.5
    assert with_changes(spec, {}) is spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stpes": 3}, "unknown field 'stpes': did you mean 'steps'"),
        ({"objective.ucl.wieght": 3}, "did you mean 'objective.ucl.weight'"),
        ({"objective": {"ucl": {"wieght": 3}}}, "did you mean 'objective.ucl.weight'"),
        ({"steps": 0}, "steps: Input should be greater than or equal to 1"),
        ({"steps.more": 1}, "steps: "),
        ({"model": {"kind": "vit"}}, "model"),
    ],
)
def test_wrong_changes_are_spec_errors(changes: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=re.escape(message)):
        with_changes(RunSpec(), changes)


def test_wrong_calls_raise_and_leave_nothing(tiny_store: Store, tmp_path: Path):
    out = tmp_path / "run"
    calls: list[Callable[[], object]] = [
        lambda: taildiff.train("mnist5k-cua", out=out),
        lambda: taildiff.train("cifar10lt", out=out),
        lambda: taildiff.train("mnist5k-ccua", out=out, data=tiny_store, stpes=3),  # pyright: ignore
        lambda: taildiff.train("auto-ccua", out=out, data=tmp_path / "none"),
        lambda: taildiff.load(out),
        lambda: taildiff.Run(out).info,
        lambda: taildiff.sample(out, out=tmp_path / "images"),
        lambda: taildiff.evaluate(out),
        lambda: taildiff.compare(out),
        lambda: taildiff.report(out),
    ]
    for call in calls:
        with pytest.raises(taildiff.TaildiffError):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert taildiff.Run(out).metrics == []


def test_ctrl_c_saves_and_raises(tiny_spec: RunSpec, tiny_store: Store, tmp_path: Path):
    def interrupt(_stage: str, done: int, _total: int, /) -> None:
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt) as stopped:
        taildiff.train(tiny_spec, out=tmp_path / "run", data=tiny_store, progress=interrupt)
    assert isinstance(stopped.value, taildiff.Interrupted)
    assert (stopped.value.run.steps, stopped.value.outcome.signal) == ([3], signal.SIGINT)
    assert "stopped after step 3 and saved" in str(stopped.value)
    assert taildiff.train(tiny_spec, out=tmp_path / "run", stop_at=4).steps == [3, 4]


def test_a_damaged_log_is_named(run: Path, tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n{"step"')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2 is damaged"):
        _ = taildiff.Run(tmp_path).metrics


def test_samples_in_every_format_are_the_same_images(run: Path):
    model = taildiff.load(str(run))
    classes = ["top", 0, "left", 2]
    pictures = model.sample(classes, guidance=1.5, format="uint8", seed=3, **FAST)
    expected = generate(load_model(RunDir(run)), np.array([2, 0, 0, 2]), SamplingSpec(seed=3, **FAST), 1.5)
    assert np.array_equal(pictures, expected)
    x = model.sample(classes, guidance=1.5, seed=3, batch_size=3, **FAST)
    assert (x.dtype, x.shape) == (torch.float32, (4, 1, 8, 8))
    assert 0 <= x.min() <= x.max() <= 1
    assert not x.is_inference()
    assert np.array_equal((x * 255).round().byte().permute(0, 2, 3, 1).numpy(), pictures)
    images = model.sample(classes, guidance=1.5, format="pil", seed=3, **FAST)
    assert all(isinstance(image, Image.Image) for image in images)
    assert np.array_equal(np.stack([np.asarray(image) for image in images]), pictures[..., 0])


@pytest.mark.parametrize(
    "fields",
    [
        {"spacing": "karras", "rho": 5},
        {"spacing": "power", "exponent": 3},
        {"sampler": "ancestral", "variance": "fixedlarge"},
    ],
)
def test_every_way_to_step_is_reachable(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
):
    used: list[SamplingSpec] = []
    times = build.times
    monkeypatch.setattr(build, "times", lambda spec, process: used.append(spec) or times(spec, process))
    taildiff.load(run).sample([0], steps=3, **fields)
    taildiff.load(run).trajectory([0], steps=3, **fields)
    taildiff.sample(run, out=tmp_path / "x.npz", format="npz", per_class=1, steps=3, **fields)
    assert used == [SamplingSpec(steps=3, **fields)] * 3
    with pytest.raises(SpecError, match="rho applies to spacing karras only"):
        taildiff.load(run).sample([0], rho=5)


def test_labels_of_any_kind(run: Path):
    model = taildiff.load(run)
    expected = model.sample([1, 2], **FAST)
    for labels in (np.array([1, 2]), torch.tensor([1, 2]), ("right", "top"), ["right", 2]):
        assert torch.equal(model.sample(labels, **FAST), expected)
    torch.testing.assert_close(model.sample("right", **FAST), expected[:1])
    assert model.sample([], **FAST).shape == (0, 1, 8, 8)
    assert model.trajectory([], **FAST) == []


def test_a_trajectory_ends_in_the_sample(run: Path):
    model = taildiff.load(run)
    stages = model.trajectory([0, 1, 1], guidance=2, sampler="heun", steps=4, batch_size=2)
    assert [stage.shape for stage in stages] == [(3, 1, 8, 8)] * 4
    assert torch.equal(stages[-1], model.sample([0, 1, 1], guidance=2, sampler="heun", steps=4))
    assert len(model.trajectory(0, format="pil", **FAST)) == 2


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (3, {}, "labels are 0..2, not 3..3"),
        ("lfet", {}, "unknown class 'lfet': did you mean 'left'?"),
        (0, {"sampler": "heum"}, "sampler"),
        (0, {"steps": 0}, "steps"),
        (0, {"guidance": float("nan")}, "not a number from 0 up"),
        (0, {"format": "png"}, "unknown format 'png'"),
    ],
)
def test_wrong_samples_are_input_errors(run: Path, labels: Any, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        taildiff.load(run).sample(labels, **(FAST | options))


def test_sampling_to_files(run: Path, tmp_path: Path):
    out = taildiff.sample(run, out=tmp_path / "images", per_class=2, classes=["top"], guidance=1, **FAST)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == [
        "top/00000.png",
        "top/00001.png",
    ]
    images = taildiff.load(run).sample([2, 2], guidance=1, format="uint8", **FAST)
    assert np.array_equal(np.asarray(Image.open(out / "top" / "00001.png")), images[1, ..., 0])
    file = taildiff.sample(run, out=str(tmp_path / "x.npz"), per_class=1, format="npz", **FAST)
    with np.load(file) as archive:
        assert archive["labels"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("_quick_classifier")
def test_an_evaluation_and_what_it_shows(run: Path, tmp_path: Path):
    out = taildiff.sample(run, out=tmp_path / "images", per_class=12, **FAST)
    stages: list[str] = []
    evaluation = taildiff.evaluate(
        run,
        guidance=(1, 2),
        per_class=12,
        metrics=["frechet", "accuracy"],
        progress=lambda s, *_: stages.append(s),
        **FAST,
    )
    assert stages
    assert evaluation.table.guidances == (1, 2)
    assert evaluation.rows == list(evaluation.table.rows)
    assert evaluation == taildiff.Evaluation.read(str(evaluation.folder))
    shown = r"Evaluation\(run, step 5; guidance 1, 2; best Fréchet distance [\d.]+; best accuracy \d+%\)"
    assert re.fullmatch(shown, repr(evaluation))
    html = evaluation._repr_html_()
    assert "<th>accuracy ↑</th><th>Fréchet ↓</th>" in html
    assert html.count("<tr>") == 1 + 2 * 4  # all, head, body and tail at two guidances
    figure = evaluation.plot("frechet")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("guidance", "Fréchet distance ↓")
    assert figure._repr_png_().startswith(b"\x89PNG")  # pyright: ignore
    with pytest.raises(InputError, match="did you mean 'accuracy'"):
        evaluation.plot("acuracy")

    of_images = taildiff.evaluate(out, data=RunDir(run).info().store.path)
    assert of_images.folder.parent == tmp_path / "images-evals"
    assert of_images.table.definition.spec.per_class == 12
    ticks = [tick.get_text() for tick in of_images.plot().axes[0].get_xticklabels()]
    assert ticks == [group for group in ("all", "head", "body", "tail") if group in of_images.table.groups]


@pytest.mark.usefixtures("_quick_classifier")
def test_rows_for_pandas_or_advice(run: Path, monkeypatch: pytest.MonkeyPatch):
    evaluation = taildiff.evaluate(run, guidance=1, per_class=12, metrics="accuracy", **FAST)
    pandas = pytest.importorskip("pandas")
    frame = evaluation.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(evaluation.rows)
    assert list(frame.columns[:4]) == ["run", "step", "metric", "group"]
    assert "class" in frame
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        evaluation.to_pandas()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": -1}, "guidance"),
        ({"metrics": "acuracy"}, "did you mean 'accuracy'"),
        ({"per_class": 1}, "per_class"),
        ({"perclass": 10}, "did you mean 'per_class'"),
        ({"sampler": "heum"}, "sampler"),
        ({"trained_on": "x"}, "--trained-on does not apply to a run"),
        ({"data": "a", "reference": "b"}, "two references"),
    ],
)
def test_wrong_evaluations_are_spec_errors(run: Path, options: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=re.escape(message)):
        taildiff.evaluate(run, **options)
    assert not RunDir(run).evals.joinpath("none").exists()


@pytest.mark.usefixtures("_quick_classifier")
def test_comparing_and_reporting(run: Path, tmp_path: Path):
    from reporting.fake_runs import make_run

    make_run(tmp_path / "a")
    make_run(tmp_path / "b", quality=1.0)
    table = taildiff.compare(tmp_path / "a", str(tmp_path / "b"), out=tmp_path / "table.md")
    assert table.names == ("a", "b")
    assert "| b − a |" in (tmp_path / "table.md").read_text()
    page = taildiff.report(tmp_path / "a", tmp_path / "b", title="Two runs")
    assert page.resolve() == tmp_path / "report.html"
    assert "Two runs" in page.read_text()


def test_preparing_and_encoding(tiny_vae: Path, tmp_path: Path):
    for label in range(3):
        (tmp_path / "photos" / f"c{label}").mkdir(parents=True)
        for n in range(4):
            picture = np.random.default_rng(n).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / f"c{label}" / f"{n}.png")
    store = taildiff.prepare("folder", tmp_path / "photos", out=tmp_path / "store", size=16)
    assert (store.meta.count, store.meta.class_names) == (12, ("c0", "c1", "c2"))
    latents = taildiff.encode(store, vae=str(tiny_vae), out=tmp_path / "latents")
    assert latents.facts.shape == (4, 2, 2)
    assert json.loads((tmp_path / "latents" / "latents.json").read_text())["rows"] == 12
    with pytest.raises(InputError, match="did you mean 'folder'"):
        taildiff.prepare("foldre", tmp_path / "photos", out=tmp_path / "x")
