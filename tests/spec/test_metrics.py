"""The catalogue: complete records, names checked with a suggestion, bounds, best values and how values print."""

import re
from math import inf
from pathlib import Path

import pytest

from taildiff.errors import SpecError
from taildiff.spec import CHEAP, METRICS, EvalSpec, parse
from taildiff.spec.metrics import families, requestable, requested


def test_the_names_that_can_be_requested_and_the_defaults_stay():
    assert requestable() == (
        "accuracy", "frechet", "kernel_distance", "precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8",
        "diversity", "vendi", "memorized", "inception_score",
    )  # fmt: skip
    assert requestable()[:7] == CHEAP
    assert set(METRICS) - set(requestable()) == {
        "classifier_accuracy", "utility_real", "utility_completed", "utility_generated", "utility_gain",
    }  # fmt: skip
    assert [name for names in families().values() for name in names] == list(METRICS)


def test_records_agree_with_themselves():
    for name, record in METRICS.items():
        low, high = record.bounds
        assert record.name == name
        assert low < high
        assert record.description.endswith(".")
        assert record.unit != "share" or -1 <= low < high == 1
        assert not record.cheap or record.option == "metrics"


def test_an_unknown_metric_gets_the_nearest_name():
    with pytest.raises(SpecError, match=r"unknown metric 'frechett': did you mean 'frechet'\?"):
        parse(EvalSpec, {"metrics": ["frechett"]})
    with pytest.raises(SpecError, match="utility_gain is measured with --utility; remove it"):
        parse(EvalSpec, {"metrics": ["utility_gain"]})
    with pytest.raises(ValueError, match="unknown metric 'al': did you mean 'all'"):
        requested(["al"])


def test_groups_of_names_stand_for_their_metrics():
    assert requested([]) == requested(["cheap"]) == CHEAP
    assert requested(["all"]) == requestable()
    assert requested(["vendi", "accuracy"]) == ("accuracy", "vendi")
    assert requested(["vendi", "cheap"]) == (*CHEAP, "vendi")


def test_bounds_and_best_values():
    assert METRICS["utility_gain"].clamp(-0.05) == -0.05
    assert METRICS["kernel_distance"].bounds == (-inf, inf)
    assert METRICS["frechet"].clamp(-1.0) == 0.0
    assert METRICS["recall"].clamp(1.2) == 1.0
    assert METRICS["frechet"].best([2.0, 1.0]) == 1.0
    assert METRICS["recall"].best([0.2, 0.1]) == 0.2
    assert METRICS["vendi"].best([2.0, 1.0]) is None
    assert METRICS["recall"].best([]) is None


@pytest.mark.parametrize(
    ("name", "value", "rounded", "text"),
    [
        ("accuracy", 0.9345, "93%", "93.5 %"),
        ("utility_gain", -0.1, "-10%", "-10.0 %"),
        ("frechet", 12.345, "12.3", "12.3"),
        ("frechet", 123.45, "123.5", "123"),
        ("kernel_distance", 0.012345, "0.0123", "0.0123"),
        ("vendi", 3.456, "3.46", "3.46"),
        ("vendi", 34.56, "35", "34.6"),
    ],
)
def test_values_print_as_their_record_says(name: str, value: float, rounded: str, text: str):
    assert METRICS[name].rounded(value) == rounded
    assert METRICS[name].text(value) == text


def test_titles_name_the_direction_and_fid_only_on_its_network():
    frechet = METRICS["frechet"]
    assert frechet.on(False).heading == "Fréchet distance ↓"
    assert frechet.on(True).heading == frechet.on(True).short_heading == "FID ↓"
    assert METRICS["accuracy"].on(True).short_heading == "accuracy ↑"
    assert METRICS["diversity"].heading == "diversity"


def test_the_documented_table_has_every_metric_with_title_and_direction():
    page = (Path(__file__).parents[2] / "docs" / "evaluating.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    documented = {cell[0].strip("`"): (cell[1].split(" (")[0], cell[2]) for cell in cells if len(cell) == 5}
    assert documented == {name: (record.title, record.better) for name, record in METRICS.items()}


def test_the_documentation_says_for_every_metric_what_its_interval_holds_fixed():
    page = (Path(__file__).parents[2] / "docs" / "reading-numbers.md").read_text(encoding="utf-8")
    table = page.split("| held fixed in both |")[1].split("\n\n")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(METRICS)
