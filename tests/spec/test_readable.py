"""What a spec accepts can be written and read again; what could not be read is refused with its name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cli.calls import call, said
from taildiff.errors import SpecError
from taildiff.evaluation.table import Definition, ExtractorInfo, Table
from taildiff.io.atomic import write_json
from taildiff.io.json_files import read_json
from taildiff.run.info import add_checksum, read_run_info
from taildiff.run.layout import EvalDir
from taildiff.run.weights import WeightsMeta, read_weights, write_weights
from taildiff.spec import DataFacts, EvalSpec, RunSpec, parse
from taildiff.spec.base import INTEGERS

INTEGER = st.one_of(
    st.integers(),
    st.sampled_from((2**63, 2**64, 10**19, 10**20 - 1, 10**20, -(10**19), 10**400, 10**5000)),
    st.tuples(st.integers(0, 30), st.integers(-9, 9)).map(lambda pair: pair[1] * 10 ** pair[0]),
)
FLOAT = st.one_of(st.floats(), INTEGER, st.sampled_from((-0.0, 5e-324, 1.7976931348623157e308)))
TEXT = st.text(st.characters(), max_size=20)  # halves of surrogate pairs included
FACTS = DataFacts(height=8, width=8, channels=1, class_names=("a", "b"), counts=(1, 1))
RUN = st.fixed_dictionaries(
    {},
    optional={
        "recipe": TEXT,
        **dict.fromkeys(("seed", "steps", "batch_size", "accumulate", "nodes", "skip_nonfinite"), INTEGER),
        "skip_spikes": FLOAT,
        "data": st.fixed_dictionaries({"tail": st.just("list"), "list": TEXT, "tail_seed": INTEGER}),
        "optimizer": st.fixed_dictionaries({"lr": FLOAT, "warmup": INTEGER, "betas": st.tuples(FLOAT, FLOAT)}),
        "every": st.fixed_dictionaries({"log": INTEGER, "keep": INTEGER}),
        "path": st.fixed_dictionaries({"kind": st.just("ddpm"), "timesteps": INTEGER}),
    },
)
EVALUATION = st.fixed_dictionaries(
    {},
    optional={
        "features": TEXT,
        "per_class": INTEGER,
        "k": INTEGER,
        "seeds": st.lists(INTEGER, max_size=5),
        "guidance": st.lists(FLOAT, max_size=5),
        "sampling": st.fixed_dictionaries({"steps": INTEGER, "seed": INTEGER, "exponent": FLOAT}),
    },
)


def refused(error: SpecError, values: dict[str, Any]) -> None:
    """The error names one of the values."""
    assert any(name in str(error) for name in values)


@given(RUN)
def test_a_run_that_is_accepted_can_be_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]):
    folder = tmp_path_factory.getbasetemp()
    try:
        spec = parse(RunSpec, values)
    except SpecError as error:
        refused(error, values)
        return
    store = {"path": "store", "hash": "0"}
    info = {"spec": spec.model_dump(mode="json"), "facts": FACTS.model_dump(mode="json"), "store": store}
    write_json(folder / "run.json", add_checksum(info | {"split_hash": "0"}))
    assert read_run_info(folder / "run.json").spec == spec
    meta = WeightsMeta(kind="ema", step=1, spec=spec, facts=FACTS)
    write_weights(folder / "w.safetensors", {"a": torch.zeros(1)}, meta)
    assert read_weights(folder / "w.safetensors")[1].spec == spec


@given(EVALUATION)
def test_an_evaluation_that_is_accepted_can_be_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]):
    folder = tmp_path_factory.getbasetemp() / "evaluation"
    try:
        spec = parse(EvalSpec, values)
    except SpecError as error:
        refused(error, values)
        return
    definition = Definition(
        name="n",
        run="r",
        step=1,
        spec=spec,
        weights_hash="0",
        store_hash="0",
        extractor=ExtractorInfo(name="x", dim=1, hash="0"),
        class_names=("a", "b"),
        counts=(1, 1),
    )
    Table((), definition, ()).write(EvalDir(folder))
    assert Table.read(EvalDir(folder)).definition == definition


@given(INTEGER)
def test_files_hold_the_integers_that_specs_accept(tmp_path_factory: pytest.TempPathFactory, value: int):
    path = tmp_path_factory.getbasetemp() / "integer.json"
    try:
        path.write_text(f"[{value}]")
    except ValueError:  # Python writes no integer of more than 4,300 digits
        assert value not in INTEGERS
        return
    if value in INTEGERS:
        assert read_json(path) == [value]
    else:
        with pytest.raises(SpecError, match="an integer of"):
            read_json(path)


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        *(("train mnist5k-plain --data STORE --out OUT", name) for name in ("--seed", "--steps", "--data.tail-seed")),
        *(("train mnist5k-plain --data STORE --out OUT", name) for name in ("--batch-size", "--stop-at")),
        *(("sample RUN --out OUT", name) for name in ("--per-class", "--seed", "--steps", "--batch-size")),
        *(("evaluate RUN", name) for name in ("--per-class", "--k", "--step", "--steps", "--seed")),
        *(("data prepare npz STORE/../i.npz --out OUT", name) for name in ("--size", "--white")),
        ("data encode STORE --vae OUT --out OUT", "--batch-size"),
    ],
)
@pytest.mark.parametrize("digits", ["9" * 21, "-" + "9" * 20, "9" * 5000])
def test_an_option_of_too_many_digits_is_refused_by_name(
    verb: str, option: str, digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = verb.replace("STORE", str(tmp_path / "store")).replace("OUT", str(tmp_path / "out"))
    assert call(*words.replace("RUN", str(tmp_path / "run")).split(), f"{option}={digits}") == 2
    text = said(capsys)
    assert option.removeprefix("--").rsplit(".")[-1].replace("-", "_") in text.replace("-", "_")
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists()
