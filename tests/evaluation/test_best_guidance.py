"""The guidance that evaluations tell, where the real images are balanced and where they are a long tail."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.test_seeds import changed
from reporting.fake_runs import make_run, write_errors
from taildiff.comparison.compare import choose, compare
from taildiff.evaluation.best_guidance import Criterion, criterion, default_guidance
from taildiff.evaluation.replicates import Key
from taildiff.evaluation.table import Table
from taildiff.metrics.frechet import frechet_distance
from taildiff.metrics.kernel import kernel_distance
from taildiff.reporting.load import load
from taildiff.reporting.report import write_page
from taildiff.reporting.settings import settings_of
from taildiff.reporting.summary import best_guidance
from taildiff.run.layout import RunDir

NAMES = "many", "some", "few"
REAL = {"many": 200, "some": 60, "few": 8}


def with_distances(run: RunDir, real: Mapping[str, int], values: Mapping[str, tuple[float | None, ...]]) -> Table:
    """The run's evaluation with these real images per class, and these kernel distances of classes at 1, 2, 3."""
    (folder,) = run.evaluations()
    table = Table.read(folder)
    like = table.select("frechet", "all", 1.0)[0]
    rows = [
        like.model_copy(
            update={
                "metric": "kernel_distance",
                "group": "class",
                "class_name": name,
                "guidance": guidance,
                "value": value,
                "n_real": real[name],
            }
        )
        for name, column in values.items()
        for guidance, value in zip((1.0, 2.0, 3.0), column, strict=True)
    ]
    kept = [row for row in table.rows if (row.metric, row.group) != ("kernel_distance", "class")]
    replace(table, rows=(*kept, *rows)).write(folder)
    return Table.read(folder)


def run_of(place: Path) -> RunDir:
    return make_run(place, counts=tuple(REAL.values()), names=NAMES)  # lowest Fréchet distance over all classes at 2


def test_of_long_tailed_real_images_each_class_counts_alike(tmp_path: Path):
    run = run_of(tmp_path / "run")
    assert default_guidance(run).value == 2.0
    with_distances(run, REAL, {"many": (0.1, 0.3, 0.2), "some": (0.9, 0.5, 0.2), "few": (None, None, None)})
    found = default_guidance(run)
    assert found.value == 3.0  # means .5, .4, .2
    assert "mean kernel distance per class, over 2 with enough images: 0.2" in found.reason
    with_distances(run, REAL, {"many": (0.4, 0.4, 0.4), "some": (0.2, 0.3, 0.2), "few": (None, 0.1, -9.0)})
    assert default_guidance(run).value == 1.0  # few is not known everywhere; of equal ones the lower guidance


@pytest.mark.parametrize("real", [dict.fromkeys(NAMES, 50), {"many": 100, "some": 80, "few": 50}])
def test_of_balanced_ones_the_frechet_distance_decides(tmp_path: Path, real: dict[str, int]):
    run = run_of(tmp_path / "run")
    table = with_distances(run, real, dict.fromkeys(NAMES, (0.0, 1.0, 2.0)))
    assert criterion([table]) == Criterion()
    assert default_guidance(run).value == 2.0


def test_a_tail_without_any_distance_per_class_is_chosen_by_frechet(tmp_path: Path):
    run = run_of(tmp_path / "run")
    table = with_distances(run, REAL, dict.fromkeys(NAMES, (None, None, None)))
    assert criterion([table]) == Criterion()
    assert default_guidance(run).value == 2.0


def test_sample_report_and_compare_agree(tmp_path: Path):
    runs = [run_of(tmp_path / name) for name in ("a", "b")]
    for run, best in zip(runs, (1, 3), strict=True):
        by_guidance = tuple(0.1 if best == guidance else 0.5 for guidance in (1, 2, 3))
        with_distances(run, REAL, {"many": by_guidance, "some": by_guidance, "few": (None, None, None)})
        write_errors(run)
    table = compare(choose([run.root for run in runs]))
    assert table.verdict.guidances == (1.0, 3.0)
    assert any(
        "chosen from 1, 2, 3 by the lowest mean kernel distance per class, over 2 with enough images, on the same"
        in note
        for note in table.verdict.notes
    )
    loaded = load(runs)
    assert [best_guidance(each.evaluation) for each in loaded.runs if each.evaluation] == [1.0, 3.0]
    assert [default_guidance(run).value for run in runs] == [1.0, 3.0]
    write_page(loaded, tmp_path / "report.html")
    assert "Best guidance: the lowest mean kernel distance per class" in (tmp_path / "report.html").read_text()


def test_runs_of_which_one_lacks_the_distances_are_shown_at_the_guidance_of_the_verdict(tmp_path: Path):
    runs = [run_of(tmp_path / name) for name in ("a", "b")]
    with_distances(runs[0], REAL, {"many": (0.5, 0.5, 0.1), "some": (0.5, 0.5, 0.1), "few": (None, None, None)})
    for run in runs:
        write_errors(run)
    assert default_guidance(runs[0]).value == 3.0
    assert compare(choose([run.root for run in runs])).verdict.guidances == (2.0, 2.0)
    assert [best_guidance(each.evaluation) for each in load(runs).runs if each.evaluation] == [2.0, 2.0]


def test_means_over_training_seeds_know_that_the_real_images_are_a_tail(tmp_path: Path):
    real = {"many": 60, "some": 40, "few": 8}  # the classes with distances are nearly equal
    runs = [run_of(tmp_path / name) for name in ("a", "b")]
    for seed, run in enumerate(runs):
        changed(run, seed=seed)
        with_distances(run, real, {"many": (0.5, 0.5, 0.1), "some": (0.5, 0.5, 0.1), "few": (None, None, None)})
        write_errors(run)
    (mean,) = settings_of(load(runs).runs)
    assert mean.evaluation
    assert best_guidance(mean.evaluation) == 3.0


def test_one_class_alone_does_not_decide(tmp_path: Path):
    table = with_distances(
        run_of(tmp_path / "run"), REAL, {"many": (0.1, 0.3, 0.2), "some": (None,) * 3, "few": (None,) * 3}
    )
    assert criterion([table]) == Criterion()


def test_the_frechet_distance_over_a_tail_prefers_drawing_rare_classes_as_common_ones():
    """Why it does not decide: equally many of each class are generated, and few of the real ones are rare."""
    rng = np.random.default_rng(0)
    common, rare = np.zeros(4), np.full(4, 3.0)
    real = {"common": rng.normal(common, 1, (900, 4)), "rare": rng.normal(rare, 1, (30, 4))}
    right = {"common": rng.normal(common, 1, (100, 4)), "rare": rng.normal(rare, 1, (100, 4))}
    wrong = {**right, "rare": rng.normal(common, 1, (100, 4))}

    def over_all(images: Mapping[str, np.ndarray]) -> float:
        return frechet_distance(np.concatenate([*real.values()]), np.concatenate([*images.values()]))

    def per_class(images: Mapping[str, np.ndarray]) -> float:
        known: dict[Key, float] = {
            ("kernel_distance", "class", name, 1.0): kernel_distance(real[name], images[name]) for name in real
        }
        return Criterion(tuple(real)).of(known.get, 1.0) or 0.0

    assert over_all(wrong) < over_all(right)
    assert per_class(right) < 0.1 * per_class(wrong)
