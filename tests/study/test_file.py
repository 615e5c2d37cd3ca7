"""Studies as files: what is read, hashed and refused."""

from pathlib import Path

import pytest

from taildiff.errors import InputError, SpecError
from taildiff.study import verbs
from taildiff.study.cells import StudyDir, arms_of, cells_of, check
from taildiff.study.file import Study

MINIMAL = """
[[datasets]]
name = "digits"
recipe = "mnist5k-plain"
[[methods]]
name = "plain"
[[methods]]
name = "ccua"
[budget]
seconds = 60
"""


def read(folder: Path, text: str) -> Study:
    path = folder / "s.toml"
    path.write_text(text)
    return Study.read(path)


def test_the_written_study_has_every_default(tmp_path: Path):
    path = verbs.new(tmp_path / "new.toml")
    study = Study.read(path)
    check(study, {})
    spec = study.spec
    assert [method.name for method in spec.methods] == ["plain", "ccua", "ccua-shared"]
    assert (spec.seeds.training, spec.seeds.choose, spec.seeds.report) == ((0, 1, 2), 0, 1)
    assert len(cells_of(study, StudyDir(study.folder))) == 9
    with pytest.raises(InputError, match="exists; choose another name"):
        verbs.new(path)
    with pytest.raises(InputError, match=r"study is a \.toml file"):
        verbs.new(tmp_path / "study")


def test_the_hash_is_of_the_values(tmp_path: Path):
    first = read(tmp_path, MINIMAL)
    assert read(tmp_path, f"# a comment\n{MINIMAL}").hash == first.hash
    other = read(tmp_path, MINIMAL.replace("60", "61"))
    assert other.hash != first.hash
    assert first.folder != other.folder
    assert first.folder.name == f"s-{first.hash[:10]}"


@pytest.mark.parametrize(
    ("margin", "message"),
    [
        ('reference = "cua"', "margin: unknown reference 'cua': did you mean 'ccua'"),
        ('reference = "ccua"\nratio = { recall = 1.1 }\ndifference = {}', "higher recall is better; give a difference"),
        ('reference = "ccua"\ndifference = { frechet = 1.0 }', "frechet: give either a difference or a ratio"),
        (
            'reference = "ccua"\nratio = { frechet = 0.9 }',
            "margin.ratio.frechet: Input should be greater than or equal",
        ),
        ('reference = "ccua"\ndifference = { diversity = 1 }', "diversity has no better direction"),
        ('reference = "ccua"\ndifference = { coverage = 0.1 }', "evaluation: add coverage to the metrics"),
        ('reference = "ccua"\ndifference = {}\nratio = {}', "give a difference or a ratio of at least one metric"),
    ],
)
def test_a_margin_that_cannot_be_judged_is_refused(margin: str, message: str, tmp_path: Path):
    text = MINIMAL + "[evaluation]\nmetrics = ['accuracy', 'frechet', 'recall']\n"
    with pytest.raises(SpecError, match=message):
        read(tmp_path, f"{text}[margin]\n{margin}\n")


def test_settings_reach_the_runs_under_a_constant_schedule(tmp_path: Path):
    mine = 'name = "mine"\nmethod = "ccua"\nchanges = {optimizer.lr = 0.002}\nsettings = [{objective.ucl.weight = 0.3}]'
    dataset = 'recipe = "mnist5k-plain"\nchanges = { "data.ratio" = 0.1 }'
    text = MINIMAL.replace('name = "ccua"', mine).replace('recipe = "mnist5k-plain"', dataset)
    specs = [arm.spec(None) for arm in arms_of(read(tmp_path, text))]
    assert {spec.optimizer.schedule for spec in specs} == {"constant"}
    assert [(spec.data.ratio, spec.optimizer.lr) for spec in specs] == [(0.1, 0.001), (0.1, 0.002)]
    assert [(spec.objective.ucl.weight, spec.objective.al.weight) for spec in specs] == [(0, 0), (0.3, 0.05)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seconds = 60", "", "either seconds or steps"),
        ("seconds = 60", "seconds = 60\nsteps = 3", "either seconds or steps"),
        ("seconds = 60", 'seconds = 60\nequal = ["time", "time"]', "at most once"),
        ("seconds = 60", "second = 60", "did you mean 'budget.seconds'"),
        ('name = "ccua"', 'name = "plain"', "the name plain is given twice"),
        ('name = "ccua"', 'name = "a/b"', "pattern"),
        ('name = "ccua"', 'name = "ccua"\nsettings = [{}, {"optimizer.lr" = 1}]', r"equally \(plain 1, ccua 2\)"),
        ('name = "ccua"', 'name = "ccua"\nchanges = {"seed" = 1}', "seed is set by the study"),
        ('name = "ccua"', 'name = "ccua"\nchanges = {optimizer.schedule = "cosine"}', "schedule is set by the study"),
        ('name = "ccua"', 'name = "ccua"\nseeds = [3, 4]', "give 3 different seeds"),
        ('name = "ccua"', 'name = "ccua"\nchanges = {"data.list" = 2026-01-01}', "is a date"),
        ("[budget]", "[seeds]\nchoose = 1\n[budget]", "choose and report must differ"),
        ("[budget]", "[selection]\nmetric = 'diversity'\n[budget]", "no better direction"),
        ("[budget]", "[selection]\nmetric = 'memorized'\n[budget]", "add memorized to the metrics"),
        ("[budget]", "[evaluation]\nsampling.seed = 3\n[budget]", "sampling seeds are"),
        ("[budget]", "[budget", "not a readable study"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str):
    assert MINIMAL.count(old) == 1
    with pytest.raises(SpecError, match=message):
        read(tmp_path, MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "ccua"', 'name = "cua"', r"digits/cua: unknown method 'cua': did you mean 'ccua'"),
        ('name = "ccua"', 'name = "ccua"\nsettings = [{"objective.ucl.wight" = 1}]', "digits/ccua: .*weight"),
        ("mnist5k-plain", "mnist5k-plan", "did you mean 'mnist5k-plain'"),
    ],
)
def test_settings_that_fit_no_run_are_named_before_anything_runs(tmp_path: Path, old: str, new: str, message: str):
    study = read(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(SpecError, match=message):
        check(study, {})


def test_two_equal_settings_and_a_missing_file(tmp_path: Path):
    equal = 'settings = [{ objective.al.weight = 1 }, {"objective.al.weight" = 1}]'
    with pytest.raises(SpecError, match="two settings are equal"):
        read(tmp_path, MINIMAL.replace('name = "ccua"', f'name = "ccua"\n{equal}'))
    with pytest.raises(SpecError, match="taildiff study new"):
        Study.read(tmp_path / "none.toml")
