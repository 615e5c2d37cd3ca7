"""A budget becomes steps; step times and operations are measured."""

import pytest

from taildiff.data.store import Store
from taildiff.spec import ALSpec, ObjectiveSpec, RunSpec
from taildiff.study.budget import steps_of
from taildiff.study.file import BudgetSpec
from taildiff.training.cost import counted, in_turns

TIMES = [{"plain": 0.1, "ccua": 0.2}, {"plain": 0.3, "ccua": 0.54}, {"plain": 0.2, "ccua": 0.4}]


def test_seconds_become_steps_by_the_ratio_within_rounds():
    steps = steps_of(BudgetSpec(seconds=100), ["plain", "ccua"], TIMES)
    assert steps == {"plain": {"time": 500, "steps": 250}, "ccua": {"time": 250, "steps": 250}}


def test_steps_are_those_of_the_first_arm():
    budget = BudgetSpec(steps=80, equal=("time",))
    assert steps_of(budget, ["ccua", "plain"], TIMES) == {"ccua": {"time": 80}, "plain": {"time": 160}}
    only = BudgetSpec(steps=80, equal=("steps",))
    assert steps_of(only, ["plain", "ccua"], TIMES) == {"plain": {"steps": 80}, "ccua": {"steps": 80}}


def test_real_steps_are_timed_in_turns(tiny_store: Store, tiny_spec: RunSpec):
    plain = tiny_spec.model_copy(update={"objective": ObjectiveSpec()})
    rounds = in_turns({"plain": plain, "ccua": tiny_spec}, tiny_store, 2)
    assert [set(times) for times in rounds] == [{"plain", "ccua"}] * 2
    assert all(0 < seconds < 60 for times in rounds for seconds in times.values())


def test_a_second_whole_pass_doubles_the_operations(tiny_store: Store, tiny_spec: RunSpec):
    plain = tiny_spec.model_copy(update={"objective": ObjectiveSpec()})
    aligned = tiny_spec.model_copy(update={"objective": ObjectiveSpec(al=ALSpec(weight=0.1))})
    one, two = (counted(spec, tiny_store.facts, 8) for spec in (plain, aligned))
    assert two == pytest.approx(2 * one, rel=0.01)
    assert counted(plain, tiny_store.facts, 4) == pytest.approx(one / 2, rel=0.01)
