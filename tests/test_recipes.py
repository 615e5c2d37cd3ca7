"""Recipes: every one builds and takes some steps; the auto one fits itself to any data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taildiff import build
from taildiff.errors import SpecError
from taildiff.recipes import FIXED, NAMES, auto_ccua, recipe
from taildiff.runs import RunDir
from taildiff.spec import DataFacts, RunSpec
from taildiff.training.loop import StopRule
from taildiff.training.session import run_training


@pytest.mark.parametrize("name", [name for name in FIXED if name.startswith("mnist5k")])
def test_each_method_trains_for_some_steps(name, make_store, tmp_path):
    store = make_store(tmp_path / "store", counts=(30, 12, 10), size=28)
    spec = recipe(name).model_copy(update={"batch_size": 8})
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"ratio": 0.1})})
    run = RunDir(tmp_path / "run")
    outcome = run_training(run, spec, store, StopRule(step=3))
    assert outcome.step == 3
    assert run.weight_steps() == [3]


@given(
    size=st.sampled_from([8, 16, 20, 28, 32, 48, 64]),
    channels=st.sampled_from([1, 3]),
    counts=st.lists(st.integers(1, 20_000), min_size=2, max_size=6),
)
def test_auto_fits_any_data(size, channels, counts):
    names = tuple(f"c{i}" for i in range(len(counts)))
    facts = DataFacts(height=size, width=size, channels=channels, class_names=names, counts=tuple(counts))
    spec = auto_ccua(facts)
    assert RunSpec.model_validate(spec.model_dump()) == spec
    assert size >> (len(spec.model.channels) - 1) >= 4
    assert spec.data.flip == (channels == 3)
    build.denoiser(spec.model.model_copy(update={"channels": tuple(8 for _ in spec.model.channels)}), facts)


def test_names_and_docstrings():
    for name in FIXED:
        assert recipe(name).recipe == name
        assert f"taildiff train {name}" in (FIXED[name].__doc__ or "")
    assert set(NAMES) == {*FIXED, "auto-ccua"}
    with pytest.raises(SpecError, match="did you mean 'mnist5k-ccua'"):
        recipe("mnist5k-cuca")
    with pytest.raises(SpecError, match="add --data STORE"):
        recipe("auto-ccua")
