"""Training seeds as one column: hand-computed intervals, pairing, settings, names, mistakes."""

import csv
import io
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comparison.test_compare import redefined
from reporting.fake_runs import make_run
from taildiff.comparison.difference import Difference
from taildiff.comparison.latex import to_latex
from taildiff.comparison.render import to_csv, to_markdown
from taildiff.comparison.seeds import compare_seeds, student, welch
from taildiff.comparison.select import Selection, select
from taildiff.comparison.settings import only_seeds_differ
from taildiff.comparison.table import Cell, ComparisonTable, Line
from taildiff.errors import RunError
from taildiff.evaluation.table import Table
from taildiff.io.atomic import write_json
from taildiff.io.json_files import read_json
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir

T2 = 4.302652729749464  # Student's quantile 0.975 at 2 degrees of freedom: 0.95 sqrt(2 / (1 - 0.95²))
VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=6)


def trained(root: Path, seed: int, quality: float = 0.0, weight: float = 0.0, steps: int = 600) -> Path:
    """A fake run of this seed; its Fréchet distance at guidance 2 is 9 - 0.9 quality."""
    run = make_run(root, quality=quality, weight=weight, steps=steps)
    changed(run, seed=seed)
    return root


def changed(run: RunDir, info: dict[str, object] | None = None, **spec: object) -> None:
    values = read_json(run.spec)
    write_json(run.spec, add_checksum(values | {"spec": values["spec"] | spec} | (info or {})))


def without(run: RunDir, metric: str) -> None:
    """As if one number could not be computed."""
    (folder,) = run.evaluations()
    table = Table.read(folder)
    rows = [row.model_copy(update={"value": None}) if row.metric == metric else row for row in table.rows]
    Table(tuple(rows), table.definition, table.notes).write(folder)


def frechet(compared: ComparisonTable) -> Line:
    return next(x for x in compared.lines if (x.metric, x.group, x.guidance) == ("frechet", "all", 2.0))


def numbers(cell: Cell) -> tuple[float | None, ...]:
    assert cell.row is not None
    return cell.row.value, cell.row.low, cell.row.high, cell.seeds


def difference(cell: Cell) -> tuple[float | None, float | None, float | None]:
    assert cell.difference is not None
    return cell.difference.value, cell.difference.low, cell.difference.high


@pytest.fixture
def six(tmp_path: Path) -> list[Path]:
    """Fréchet distances 9, 8.1, 7.2 and 8.1, 7.2, 6.12 (differences -0.9, -0.9, -1.08)."""
    plain = [trained(tmp_path / f"plain-{seed}", seed, quality=seed) for seed in range(3)]
    ours = [trained(tmp_path / f"ccua-{n}", n, quality=n + 1 + 0.2 * (n == 2), weight=0.2) for n in range(3)]
    return [*plain, *ours]


def test_means_and_intervals_equal_hand_computed_ones(six: list[Path]):
    compared = compare_seeds(six)
    assert (compared.names, compared.seeds) == (("plain", "ccua"), (3, 3))
    first, other = frechet(compared).cells
    half = T2 * 0.9 / 3**0.5  # s = 0.9
    assert numbers(first) == pytest.approx((8.1, 8.1 - half, 8.1 + half, 3))
    centre, error = -0.96, (2 * 0.06**2 + 0.12**2) ** 0.5 / 2**0.5 / 3**0.5
    assert difference(other) == pytest.approx((centre, centre - T2 * error, centre + T2 * error))
    assert other.difference is not None
    assert other.difference.high is not None
    assert other.difference.high < 0  # though the intervals of the two overlap by far
    judged = next(line for line in compared.verdict.lines if (line.metric, line.group) == ("frechet", "all"))
    assert [cell.bold for cell in judged.cells] == [False, True]
    assert any("paired by seed: ccua" in note for note in compared.notes)
    assert any("plain: 0, 1, 2; ccua: 0, 1, 2" in note and "not the bootstrap" in note for note in compared.notes)


def test_other_seeds_are_compared_unpaired(tmp_path: Path, six: list[Path]):
    changed(RunDir(six[5]), seed=7)
    compared = compare_seeds(six)
    cell = frechet(compared).cells[1]
    by_scipy = stats.ttest_ind([8.1, 7.2, 6.12], [9, 8.1, 7.2], equal_var=False).confidence_interval(0.95)
    assert difference(cell) == pytest.approx((-0.96, by_scipy.low, by_scipy.high))
    assert cell.difference is not None
    assert not cell.difference.clear
    assert any("unpaired (Welch), since the seeds differ: ccua" in note for note in compared.notes)


def test_the_order_of_runs_within_a_setting_changes_nothing(six: list[Path]):
    known = to_csv(compare_seeds(six))
    for own in list(permutations(six[:3]))[1:]:
        assert to_csv(compare_seeds([own[0], six[5], own[1], six[3], own[2], six[4]])) == known


def test_a_number_that_a_run_lacks_counts_one_seed_less(six: list[Path]):
    without(RunDir(six[4]), "frechet")
    compared = compare_seeds(six)
    cell = frechet(compared).cells[1]
    assert numbers(cell)[0] == pytest.approx((8.1 + 6.12) / 2)
    assert cell.seeds == 2
    by_scipy = stats.ttest_ind([8.1, 6.12], [9, 8.1, 7.2], equal_var=False).confidence_interval(0.95)
    assert difference(cell)[1:] == pytest.approx((by_scipy.low, by_scipy.high))
    assert any(note.startswith("n counts the seeds") for note in compared.notes)
    assert "(n = 2)" in to_markdown(compared)
    for path in six[3:]:
        without(RunDir(path), "frechet")
    assert all(line.metric != "frechet" for line in compare_seeds(six).lines)


def test_one_run_has_no_interval_and_one_setting_stands_alone(six: list[Path]):
    compared = compare_seeds(six[:4])
    alone = frechet(compared).cells[1]
    assert numbers(alone) == (8.1, None, None, 1)
    assert difference(alone)[1:] == (None, None)
    assert any("only one run, so no interval: ccua-0" in note for note in compared.notes)
    assert "ccua-0 (1 seed)" in to_markdown(compared)
    lines = compare_seeds(six[:3])
    assert lines.names == ("plain",)
    assert numbers(frechet(lines).cells[0])[0] == pytest.approx(8.1)


def test_csv_markdown_and_latex_carry_mean_interval_and_number_of_seeds(six: list[Path]):
    compared = compare_seeds(six)
    rows = [
        r for r in csv.DictReader(io.StringIO(to_csv(compared))) if r["metric"] == "frechet" and r["group"] == "all"
    ]
    top = next(r for r in rows if (r["guidance"], r["subject"]) == ("2.0", "plain"))
    half = T2 * 0.9 / 3**0.5
    assert [float(top[name]) for name in ("value", "low", "high", "n_seeds")] == pytest.approx(
        [8.1, 8.1 - half, 8.1 + half, 3]
    )
    assert "| plain (3 seeds) | ccua (3 seeds) | ccua − plain |" in to_markdown(compared)
    assert "| 2 | 8.1 ± 2.2 | **7.14 ± 2.5** | −0.96 [−1.22, −0.702], p = " in to_markdown(compared)
    assert "| 2 | 8.1 ± 2.2 | 7.14 ± 2.5 | −0.96 [−1.22, −0.702] |" in to_markdown(compared)
    few = to_latex(select(compared, Selection().of_paper))
    assert r"& 8.1 $\pm$ 2.2 &" in few
    assert r"& \textbf{7.14 $\pm$ 2.5} {\scriptsize ($-$0.96)} &" in few
    assert r"Means over 3 training seeds $\pm$ half of Student's 95 \% interval" in few
    shares = next(line for line in to_markdown(compared).splitlines() if line.startswith("| recall"))
    assert " ± 0.0 %" in shares


@pytest.mark.parametrize(
    ("plain", "ours", "names"),
    [
        (("plain-seed0", "plain-seed1"), ("ccua_s0", "ccua_s1"), ("plain", "ccua")),
        (("lt10-10", "lt10-11"), ("ours-8", "ours-10"), ("lt10", "ours")),  # numbers are cut off whole, or not at all
        (("cifar10", "cifar10b"), ("c0", "c1"), ("cifar10", "c")),
        (("seed0/plain", "seed1/plain"), ("seed0/ours", "seed1/ours"), ("plain", "ours")),
        (("0", "1"), ("2", "3"), ("mnist5k-plain", "mnist5k-ccua")),
        (("x1", "x2"), ("x3", "x4"), ("mnist5k-plain", "mnist5k-ccua")),
    ],
)
def test_a_setting_is_named_by_what_its_runs_share(
    tmp_path: Path, plain: Sequence[str], ours: Sequence[str], names: tuple[str, str]
):
    paths = [trained(tmp_path / name, seed) for seed, name in enumerate(plain)]
    paths += [trained(tmp_path / name, seed, weight=0.2) for seed, name in enumerate(ours)]
    assert compare_seeds(paths).names == names


def test_indistinguishable_settings_are_named_by_their_first_runs(tmp_path: Path):
    paths = [trained(tmp_path / f"x{place}", place % 2) for place in range(4)]
    for path in paths[2:]:
        changed(RunDir(path), batch_size=32)
    assert compare_seeds(paths).names == ("x0 and 1 more", "x2 and 1 more")


def test_what_may_change_on_resume_is_one_setting_and_all_else_is_another(tmp_path: Path):
    paths = [trained(tmp_path / f"x{seed}", seed) for seed in range(3)]
    changed(RunDir(paths[1]), devices=2, every={"log": 5}, compile=True, skip_nonfinite=3)
    assert compare_seeds(paths).seeds == (3,)
    last = RunDir(paths[2])
    for values in ({"split_hash": "0" * 64}, {"start_from": "w.safetensors"}, {"latents": {"path": "z", "hash": "1"}}):
        before = read_json(last.spec)
        changed(last, values)
        assert compare_seeds(paths).seeds == (2, 1)
        write_json(last.spec, before)
    changed(last, steps=700)
    assert compare_seeds(paths).seeds == (2, 1)


def test_devices_separate_runs_only_where_each_compares_its_own_samples(tmp_path: Path):
    """Older versions did so by default; on one device it makes no difference."""
    paths = [trained(tmp_path / f"x{seed}", seed, weight=0.2) for seed in range(3)]
    changed(RunDir(paths[1]), devices=2)
    objective = read_json(RunDir(paths[2]).spec)["spec"]["objective"]
    local = objective | {"ucl": objective["ucl"] | {"gather": False}}
    changed(RunDir(paths[2]), objective=local)
    assert compare_seeds(paths).seeds == (3,)
    changed(RunDir(paths[1]), devices=2, objective=local)
    assert compare_seeds(paths).seeds == (2, 1)


def test_mistakes_say_what_to_do(tmp_path: Path, six: list[Path]):
    redefined(RunDir(six[0]), tmp_path / "folder-evals" / "one", source="images", drawn=(100,) * 10)
    with pytest.raises(RunError, match=r"over separately trained runs, and .*folder is not a run; remove it"):
        compare_seeds([*six, tmp_path / "folder"])
    changed(RunDir(six[1]), seed=0)
    with pytest.raises(RunError, match=r"plain-0 and plain-1 are equal, with the same seed 0"):
        compare_seeds(six)
    changed(RunDir(six[1]), seed=1)
    with pytest.raises(RunError, match="given twice"):
        compare_seeds([six[0], six[0]])


def test_seeds_stopped_by_time_are_one_column_at_equal_time(six: list[Path]):
    """As --max-time leaves them: 590 steps in 118 s beside 600 in 120 s; ccua takes 0.3 s a step, so 180 s."""
    redefined(RunDir(six[1]), step=590)
    for path in six[3:]:
        redefined(RunDir(path), RunDir(path).evaluation("earlier").root, step=400)
    compared = compare_seeds(six)
    assert compared.names == ("plain (steps 590–600)", "ccua (step 400)")
    assert compared.seeds == (3, 3)
    assert numbers(frechet(compared).cells[0])[0] == pytest.approx(8.1)
    (note,) = [note for note in compared.notes if "unequal steps" in note]
    assert note == (
        "unequal steps, compared at equal training time: plain (steps 590–600) spans 1.7%, 118 to 120 seconds of "
        "training"
    )
    assert compare_seeds(six, "steps").names == ("plain (steps 590–600)", "ccua (step 600)")
    assert compare_seeds(six[:3]).names == ("plain (steps 590–600)",)


def test_a_seed_far_from_the_others_is_compared_with_a_note(six: list[Path]):
    redefined(RunDir(six[1]), step=300)
    compared = compare_seeds(six[:3])
    assert compared.names == ("plain (steps 300–600)",)
    assert any("spans 100.0%, 60 to 120 seconds of training" in note for note in compared.notes)
    (far, _) = [note for note in compared.notes if "no evaluation near 60 seconds of training" in note]
    assert far.startswith("plain-0 has no evaluation near 60 seconds of training: the nearest is of step 600, at 120")
    weights = RunDir(six[0]).weights(310)
    weights.parent.mkdir()
    weights.touch()
    assert any(note.endswith(f"taildiff evaluate {six[0]} --step 310") for note in compare_seeds(six[:3]).notes)


def test_runs_that_differ_only_in_the_seed_are_found(tmp_path: Path, six: list[Path]):
    assert only_seeds_differ([six[0], six[3]]) is None
    assert only_seeds_differ([six[0], six[2], six[3]]) == "plain-0, plain-2"
    assert only_seeds_differ([*six, tmp_path]) == "plain-0, plain-1, plain-2; ccua-0, ccua-1, ccua-2"
    RunDir(six[0]).spec.write_text("{")
    assert only_seeds_differ(six) is None


@given(VALUES, st.floats(0.01, 100), st.floats(-100, 100))
def test_intervals_scale_and_shift_with_the_values(values: list[float], scale: float, shift: float):
    interval, moved = student(values), student([scale * value + shift for value in values])
    assert interval is not None
    assert moved is not None
    assert moved.low == pytest.approx(scale * interval.low + shift, rel=1e-6, abs=1e-6)
    assert moved.high == pytest.approx(scale * interval.high + shift, rel=1e-6, abs=1e-6)
    assert interval.low <= np.mean(values) + 1e-9
    assert interval.high >= np.mean(values) - 1e-9


@given(VALUES, VALUES, st.randoms(use_true_random=False))
def test_welch_equals_scipy_and_ignores_the_order(first: list[float], other: list[float], random):
    interval = welch(first, other)
    assert interval is not None
    mixed = [random.sample(first, len(first)), random.sample(other, len(other))]
    assert welch(*mixed) == interval
    back = welch(other, first)
    assert back is not None
    assert (-back.high, -back.low) == pytest.approx((interval.low, interval.high), abs=1e-9)
    if np.ptp(first) > 1e-3 and np.ptp(other) > 1e-3:  # scipy warns of values that are equal
        scipys = stats.ttest_ind(other, first, equal_var=False).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((scipys.low, scipys.high), rel=1e-6, abs=1e-6)


def test_no_spread_gives_no_width_and_one_value_no_interval():
    assert student([0.1, 0.1, 0.1]) == student([0.1, 0.1])
    same = welch([0.1] * 3, [0.4] * 2)
    assert same is not None
    assert same.low == same.high == pytest.approx(0.3)
    assert student([1.0]) == Difference(1.0)
    assert welch([1.0], [1.0, 2.0]) == Difference(0.5)


def test_pairing_narrows_what_the_seeds_share():
    """Two settings that go up and down together with the seed: their difference is known, their means are not."""
    shared, own = np.array([0.0, 5.0, 10.0]), np.array([0.0, 0.1, 0.2])
    paired, apart = student(list(own + 1)), welch(list(shared), list(shared + own + 1))
    assert paired is not None
    assert apart is not None
    assert paired.low > 0 > apart.low
