"""What a terminal and a notebook show of a model and of an evaluation."""

from pathlib import Path

import pytest

import taildiff
from evaluation import tiny
from exporting import made
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


def test_an_evaluation_says_what_it_is_of_and_its_numbers(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_network, "_STEPS", (6, 6))
    evaluation = taildiff.evaluate(run, guidance=(1, 2), per_class=4, steps=1, metrics=["accuracy"])
    best = max(evaluation.table.value("accuracy", "all", g) or 0 for g in (1.0, 2.0))
    assert repr(evaluation) == f"Evaluation(<run>, step 5; guidance 1, 2; best accuracy {best:.0%})"
    page = evaluation._repr_html_()
    assert "&lt;run&gt;, step 5" in page
    assert "<run>" not in page
