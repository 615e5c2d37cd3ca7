"""Comparisons: definitions never mixed, the best marked, paired differences narrower than unpaired ones."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reporting.fake_runs import make_run
from taildiff.comparison.compare import choose, compare, found_at
from taildiff.comparison.latex import to_latex
from taildiff.comparison.render import to_csv, to_markdown
from taildiff.comparison.select import Selection, select
from taildiff.errors import RunError
from taildiff.evaluation.replicates import read_replicates, write_replicates
from taildiff.evaluation.scopes import Pool
from taildiff.evaluation.shared import Shared
from taildiff.evaluation.table import Definition, Table
from taildiff.metrics import frechet_distance
from taildiff.metrics.influence import Contributions, of_frechet
from taildiff.metrics.intervals import Resampling, percentiles
from taildiff.run.layout import EvalDir, RunDir


def replicate(run: RunDir, key: int, scale: float = 1.0) -> None:
    """Replicates for the accuracies of a fake run, as an evaluation of 100 images leaves them."""
    (folder,) = run.evaluations()
    rows = Table.read(folder).rows
    noise = (
        Resampling().replicates(np.random.default_rng(0).normal(size=100), np.zeros(100, dtype=np.int64), key) * scale
    )
    write_replicates(folder, rows, [r.value + noise if r.metric == "accuracy" and r.value else None for r in rows])


def redefined(run: RunDir, to: Path | None = None, **changes: Any) -> None:
    """Write the evaluation of a fake run as if it had been another one."""
    folder = next(run.evaluations())
    table = Table.read(folder)
    values = table.definition.model_dump()
    spec, sampling = values["spec"], values["spec"]["sampling"]
    sampling |= changes.get("spec", {}).pop("sampling", {})
    definition = Definition.model_validate(values | changes | {"spec": spec | changes.get("spec", {})})
    Table(table.rows, definition, table.notes).write(EvalDir(to) if to else folder)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunDir, RunDir]:
    return make_run(tmp_path / "plain"), make_run(tmp_path / "ccua", quality=1.0, weight=0.2)


def test_differences_have_intervals_where_both_have_replicates(runs: tuple[RunDir, RunDir]):
    for run in runs:
        replicate(run, key=7)
    compared = compare(choose([run.root for run in runs]))
    assert compared.names == ("plain", "ccua")
    lines = {(line.metric, line.group, line.class_name, line.guidance): line for line in compared.lines}
    frechet = lines["frechet", "all", "", 2.0]
    assert frechet.cells[1].difference is not None
    assert frechet.cells[1].difference.value == pytest.approx(-0.9)
    assert frechet.cells[1].difference.low is None
    accuracy = lines["accuracy", "all", "", 1.0].cells[1].difference
    assert accuracy is not None
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.high - accuracy.low < 1e-6  # the same images resampled alike: nothing is left of the noise
    assert not accuracy.clear  # description, which the correction does not cover
    assert all(line.metric != "classifier_accuracy" for line in compared.lines)
    replicate(runs[1], key=8)  # other images
    unpaired = compare(choose([run.root for run in runs]))
    cell = next(x for x in unpaired.lines if (x.metric, x.group, x.guidance) == ("accuracy", "all", 1.0)).cells[1]
    assert cell.difference is not None
    assert cell.difference.low is not None
    assert cell.difference.high is not None
    assert cell.difference.high - cell.difference.low > 0.3


def test_replicates_of_another_table_or_damaged_ones_do_not_count(runs: tuple[RunDir, RunDir]):
    replicate(runs[0], key=1)
    (folder,) = runs[0].evaluations()
    rows = Table.read(folder).rows
    assert read_replicates(folder, rows)
    assert not read_replicates(folder, rows[1:])
    (folder.root / "replicates.npz").write_bytes(b"PK")
    assert not read_replicates(folder, rows)


def test_definitions_are_not_mixed_and_the_message_names_what_differs(runs: tuple[RunDir, RunDir]):
    redefined(runs[1], spec={"sampling": {"steps": 50}})
    with pytest.raises(RunError, match=r"different definitions \(sampling.steps: 20 and 50\)"):
        choose([run.root for run in runs])


def test_missing_evaluations_and_repeated_paths_are_refused(tmp_path: Path, runs: tuple[RunDir, RunDir]):
    other = make_run(tmp_path / "new", evaluated=False)
    with pytest.raises(RunError, match="has not been evaluated: taildiff evaluate"):
        choose([runs[0].root, other.root])
    with pytest.raises(RunError, match="does not exist"):
        choose([runs[0].root, tmp_path / "none"])
    with pytest.raises(RunError, match="given twice"):
        choose([runs[0].root, runs[0].root])
    assert found_at(tmp_path / "none") == []


@pytest.mark.parametrize("at", ["steps", "images", "time"])
def test_the_evaluation_nearest_to_equal_training_is_taken_and_a_far_one_is_named(tmp_path: Path, at):
    short, long = make_run(tmp_path / "short", steps=600), make_run(tmp_path / "long", steps=900)
    far = compare(choose([short.root, long.root], at))
    assert far.names == ("short (step 600)", "long (step 900)")
    assert any("long has no evaluation near" in note and "step 900" in note for note in far.notes)
    redefined(long, long.evaluation("newest").root, step=700)
    redefined(long, long.evaluation("nearest").root, step=620)
    redefined(long, long.evaluation("too early").root, step=500)
    near = compare(choose([short.root, long.root], at))
    assert near.names == ("short (step 600)", "long (step 620)")
    assert not any("no evaluation near" in note for note in near.notes)


def test_csv_markdown_and_latex_have_the_same_numbers(runs: tuple[RunDir, RunDir]):
    compared = compare(choose([run.root for run in runs]))
    rows = list(csv.DictReader(io.StringIO(to_csv(compared))))
    assert len(rows) == 2 * len(compared.lines)  # without replicates there is no verdict
    top = next(r for r in rows if (r["metric"], r["group"], r["guidance"]) == ("frechet", "all", "2.0"))
    assert (top["part"], top["subject"], top["value"], top["clear"]) == ("description", "plain", "9.0", "")
    assert "| Fréchet distance ↓ | all classes | 2 | 9 | 8.1 | −0.9 |" in to_markdown(compared)
    few = to_latex(select(compared, Selection().of_paper))
    assert r"& 8.1 {\scriptsize ($-$0.9)} &" in few
    assert r"\%" in few


def test_predicted_spread_is_that_of_repeated_draws():
    """The bootstrap of contributions against 60 fresh draws, near and far from the real distribution."""
    n, dim = 150, 8
    for shift, scale in ((0.5, 1.0), (0.3, 1.5)):
        values: list[float] = []
        predicted: list[float] = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            real = rng.normal(size=(n, dim)).astype(np.float32)
            generated = (shift + scale * rng.normal(size=(n, dim))).astype(np.float32)
            values.append(frechet_distance(real, generated))
            if seed < 8:
                moved, labels = of_frechet(real, generated), np.arange(n) % 3
                both = ((moved.real, 1), (moved.generated, 2))
                predicted.append(float(np.std(sum(Resampling().replicates(m, labels, key) for m, key in both))))
        assert np.mean(predicted) == pytest.approx(np.std(values), rel=0.35)


def influence_on_kernel(real: np.ndarray, generated: np.ndarray) -> Contributions:
    pools = [Pool(features, np.zeros(len(features), dtype=np.int64)) for features in (real, generated)]
    influence = Shared(pools[0], pools[1], [(0,)]).kernel((0,), influence=True)[1]
    assert influence is not None
    return influence


def test_contributions_are_the_derivative_of_the_distance():
    """Doubling one image's weight moves the distance as its contribution says."""
    rng = np.random.default_rng(1)
    real, generated = rng.normal(size=(300, 5)), 0.4 + 1.3 * rng.normal(size=(300, 5))
    real, generated = real.astype(np.float32), generated.astype(np.float32)
    found = of_frechet(real, generated).generated
    before = frechet_distance(real, generated)
    changes = [frechet_distance(real, np.concatenate([generated, generated[i : i + 1]])) - before for i in range(60)]
    assert np.corrcoef(changes, found[:60])[0, 1] > 0.99
    assert np.polyfit(found[:60] / 301, changes, 1)[0] == pytest.approx(1, abs=0.1)
    kernel = influence_on_kernel(real, generated)
    assert kernel.generated.mean() == pytest.approx(0, abs=1e-9)


def test_equal_keys_are_resampled_alike_and_classes_keep_their_numbers():
    values = np.random.default_rng(0).normal(size=40)
    labels = np.repeat([0, 1], 20)
    np.testing.assert_array_equal(
        Resampling().replicates(values, labels, 3), Resampling().replicates(values, labels, 3)
    )
    assert not np.array_equal(Resampling().replicates(values, labels, 3), Resampling().replicates(values, labels, 4))
    by_class = np.where(labels == 0, 5.0, -5.0)  # nothing but the class: no draw within classes changes it
    assert np.ptp(Resampling().replicates(by_class, labels, 3)) == pytest.approx(0)
    interval = percentiles(np.arange(1001.0))
    assert (interval.low, interval.high) == pytest.approx((25, 975))
    with pytest.raises(ValueError, match="nothing to resample"):
        Resampling().replicates(np.empty(0), np.empty(0, dtype=np.int64), 0)


def test_images_beside_a_run_are_compared_with_a_warning(tmp_path: Path, runs: tuple[RunDir, RunDir]):
    redefined(runs[1], tmp_path / "folder-evals" / "one", source="images", drawn=(100,) * 10)
    compared = compare(choose([runs[0].root, tmp_path / "folder"]))
    assert any("sampling of the existing images is not known" in note for note in compared.notes)
