"""A metric is one record and one function: it reaches every output, and forgetting either fails."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import numpy as np
import pytest

from evaluation import tiny
from taildiff.api.evaluation import Evaluation
from taildiff.cli.evaluate import print_summary
from taildiff.comparison.compare import choose, compare
from taildiff.comparison.latex import to_latex
from taildiff.comparison.render import to_csv
from taildiff.comparison.select import Selection, select
from taildiff.evaluation import classifier_network, scores
from taildiff.evaluation import evaluate as module
from taildiff.evaluation.evaluate import evaluate
from taildiff.evaluation.scopes import Pool
from taildiff.evaluation.scores import Number, Sample
from taildiff.evaluation.table import Table
from taildiff.reporting.load import load
from taildiff.reporting.report import write_page
from taildiff.spec import METRICS, EvalSpec, Metric, SamplingSpec
from taildiff.spec.metrics import requested

CONTRAST = Metric(
    name="contrast",
    title="feature contrast",
    family="contrast",
    better="higher",
    bounds=(0.0, inf),
    description="Standard deviation of the features of generated images.",
)


def contrast(sample: Sample) -> Iterator[Number]:
    value = float(sample.generated.features.std())
    yield Number("contrast", value, len(sample.real), len(sample.generated))


@pytest.fixture
def _with_contrast(monkeypatch: pytest.MonkeyPatch):
    """The two additions that docs/extending.md names, for the length of a test."""
    monkeypatch.setitem(METRICS, "contrast", CONTRAST)
    monkeypatch.setitem(scores.FAMILIES, "contrast", contrast)


@pytest.mark.usefixtures("_with_contrast")
def test_a_new_metric_per_class_reaches_every_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(classifier_network, "_STEPS", (20, 20))
    monkeypatch.setattr(module, "generate", lambda *_, **__: tiny.images((20, 20, 20), seed=9)[0])
    store = tiny.make_store(tmp_path / "store", (30, 30, 30), (20, 20, 20))
    spec = EvalSpec(
        guidance=(1.0,), per_class=20, metrics=requested(["contrast", "accuracy"]), sampling=SamplingSpec(steps=1)
    )
    runs = [tiny.make_run(tmp_path / name, store) for name in ("a", "b")]
    folder, _ = (evaluate(run, store, spec) for run in runs)
    table = Table.read(folder)
    assert len(table.select("contrast", "class")) == 3
    assert all(row.value is not None for row in table.select("contrast"))
    with folder.table_csv.open(newline="") as file:
        assert {row["class"] for row in csv.DictReader(file) if row["metric"] == "contrast"} >= set(tiny.NAMES)
    print_summary(Evaluation.read(folder.root))
    assert "feature contrast ↑" in capsys.readouterr().out
    comparison = compare(choose([run.root for run in runs]))
    assert "contrast,class,left,1.0,a," in to_csv(comparison)
    chosen = select(comparison, Selection(metrics=("contrast",), groups=("all", "tail"), guidance=1.0))
    assert r"& \multicolumn{2}{c}{feature contrast $\uparrow$} \\" in to_latex(chosen)
    page = write_page(load(runs), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Feature contrast" in page


def test_a_family_with_only_a_record_or_only_a_function_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METRICS, "contrast", CONTRAST)
    with pytest.raises(LookupError, match=r"only one of spec/metrics.py and evaluation/scores.py: contrast"):
        scores.check_families()
    monkeypatch.delitem(METRICS, "contrast")
    monkeypatch.setitem(scores.FAMILIES, "contrast", contrast)
    with pytest.raises(LookupError, match="contrast"):
        scores.check_families()


def test_a_missing_function_fails_at_import():
    code = (
        "from dataclasses import replace\n"
        "from taildiff.spec import METRICS\n"
        "METRICS['new'] = replace(METRICS['vendi'], name='new', family='new')\n"
        "import taildiff.evaluation.scores"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "LookupError" in result.stderr
    assert "new" in result.stderr


def test_a_function_that_gives_other_metrics_than_its_records_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(scores.FAMILIES, "accuracy", lambda _: iter(()))
    features = np.zeros((30, 4), dtype=np.float32)
    pool = Pool(features, np.zeros(30, dtype=np.int64))
    with pytest.raises(AssertionError, match="accuracy must give the metrics"):
        scores.numbers(Sample(pool, pool), "accuracy")
