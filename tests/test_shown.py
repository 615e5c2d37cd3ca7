"""What a terminal and a notebook show of a model, an evaluation, a comparison and a store."""

import shutil
from pathlib import Path

import pytest

import taildiff
from evaluation import tiny
from exporting import made
from taildiff.data.store import Store
from taildiff.evaluation import classifier_network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shown")
    store = tiny.make_store(place / "store", (30, 24, 21), (6, 6, 6))
    return made.make_run(place / "<run>", store, made.SPECS["unet"]).root


def test_a_model_is_one_line_and_a_small_table(run: Path):
    model = taildiff.load(run)
    count = sum(parameter.numel() for parameter in model.denoiser.parameters())
    assert repr(model) == (
        f"Model(unet with {count:,} parameters, flow, 3 classes of 8x8, grey, step 5 of made, guided)"
    )
    page = model._repr_html_()
    assert page.count("<tr>") == 6
    assert "left, right, top" in page


def test_a_store_is_one_line(run: Path):
    store = Store.open(run.parent / "store")
    assert repr(store) == (
        f"Store(halves: 75 training and 18 held-out images of 3 classes, 8x8, grey, at {run.parent / 'store'})"
    )


def test_an_evaluation_says_what_it_is_of_and_its_numbers(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    evaluation = taildiff.evaluate(run, guidance=(1, 2), per_class=4, steps=1, metrics=["accuracy"])
    best = max(evaluation.table.value("accuracy", "all", g) or 0 for g in (1.0, 2.0))
    assert repr(evaluation) == f"Evaluation(<run>, step 5; guidance 1, 2; best accuracy {best:.0%})"
    page = evaluation._repr_html_()
    assert "&lt;run&gt;, step 5" in page
    assert "<run>" not in page


def test_a_comparison_is_one_line_and_a_short_table(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    other = run.with_name("other")
    shutil.copytree(run, other, dirs_exist_ok=True)
    for each in (run, other):
        taildiff.evaluate(each, guidance=1, per_class=4, steps=1, metrics=["accuracy"])
    table = taildiff.compare(run, other)
    assert repr(table) == f"ComparisonTable(<run>, other; {len(table.lines)} lines, 0 clear differences)"
    page = table._repr_markdown_()
    assert page.count("| accuracy") == 4  # all, head, body and tail, of the verdict alone
    assert "&lt;run&gt;" in page
    assert "Description" not in page
