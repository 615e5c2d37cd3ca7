"""The table as files, and reading it without torch."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taildiff.comparison.compare import differing
from taildiff.errors import RunError
from taildiff.evaluation.replicates import read_replicates, write_replicates
from taildiff.evaluation.table import Definition, ExtractorInfo, Group, Row, Table, columns, to_csv
from taildiff.io.atomic import write_json
from taildiff.io.checksum import CHECKSUM, with_checksum
from taildiff.run.layout import EvalDir
from taildiff.spec import EvalSpec

DEFINITION = Definition(
    name="domain-heun20-n4-seed0-step9-0",
    run="a",
    step=9,
    spec=EvalSpec(guidance=(1.0, 2.0)),
    weights_hash="w",
    store_hash="s",
    extractor=ExtractorInfo(name="domain", dim=32, hash="h"),
    class_names=("cat", 'dog, "big"'),
    counts=(9, 3),
)


def row(metric: str, group: Group, value: float | None, guidance: float | None = 1.0, class_name: str = "") -> Row:
    return Row(
        run="a", step=9, metric=metric, group=group, class_name=class_name, value=value, n_real=20, n_generated=8,
        sampler="heun", steps=20, guidance=guidance, ema=True, seed=0, definition=DEFINITION.name,
    )  # fmt: skip


ROWS = (
    row("classifier_accuracy", "all", 0.9, guidance=None),
    row("accuracy", "all", 0.5),
    row("accuracy", "class", 1 / 3, class_name='dog, "big"'),
    row("frechet", "tail", None),
    row("accuracy", "all", 0.75, guidance=2.0),
)
TABLE = Table(ROWS, DEFINITION, ("a note",))


def test_columns_are_those_of_the_design():
    assert columns() == (
        "run", "step", "metric", "group", "class", "value", "low", "high", "n_real", "n_generated", "sampler", "steps",
        "guidance", "ema", "seed", "definition",
    )  # fmt: skip


def test_json_gives_the_same_table_back_and_csv_the_same_numbers(tmp_path: Path):
    folder = EvalDir(tmp_path / "e")
    TABLE.write(folder)
    assert Table.read(folder) == TABLE
    with folder.table_csv.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == columns()
    assert [float(line["value"]) if line["value"] else None for line in lines] == [r.value for r in ROWS]
    assert lines[2]["class"] == 'dog, "big"'
    assert (lines[0]["guidance"], lines[0]["ema"], lines[0]["low"]) == ("", "true", "")
    assert set(json.loads(folder.table_json.read_text())["rows"][0]) == set(columns())


def test_selecting():
    assert TABLE.select("accuracy") == (ROWS[1], ROWS[2], ROWS[4])
    assert TABLE.select("accuracy", "all", guidance=2.0) == (ROWS[4],)
    assert TABLE.select(class_name='dog, "big"') == (ROWS[2],)
    assert TABLE.value("accuracy", "all", 2.0) == 0.75
    assert TABLE.value("frechet", "tail", 1.0) is None
    assert TABLE.value("recall", "all", 1.0) is None
    assert TABLE.guidances == (1.0, 2.0)
    assert TABLE.groups == ("all", "tail")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"definition": 1, "notes": [], "rows": []}'])
def test_a_damaged_table_is_named(tmp_path: Path, content: str):
    folder = EvalDir(tmp_path)
    with pytest.raises(RunError, match=r"table\.json"):
        Table.read(folder)
    folder.table_json.write_text(content)
    with pytest.raises(RunError, match=r"table\.json"):
        Table.read(folder)


def test_no_torch_is_needed():
    code = "import sys, taildiff.evaluation.table; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_evaluation_from_before_spacings_counts_as_uniform(tmp_path: Path):
    folder = EvalDir(tmp_path)
    TABLE.write(folder)
    older = json.loads(folder.table_json.read_text())
    del older[CHECKSUM]
    for name in ("spacing", "exponent", "rho", "variance"):
        del older["definition"]["spec"]["sampling"][name]
    write_json(folder.table_json, with_checksum(older))
    read = Table.read(folder)
    assert read.definition.spec.sampling == DEFINITION.spec.sampling.model_copy(update={"spacing": "uniform"})
    assert read.rows == TABLE.rows
    assert differing(read, TABLE) == [("sampling.spacing", "uniform", DEFINITION.spec.sampling.spacing)]


def test_a_table_with_an_older_name_of_a_metric_is_read_with_its_replicates(tmp_path: Path):
    """Tables and replicates of earlier versions call the classifier's accuracy `judge_accuracy`."""
    folder = EvalDir(tmp_path)
    TABLE.write(folder)
    write_replicates(folder, ROWS, [None, np.array([0.4, 0.6]), None, None, None])
    values = json.loads(folder.table_json.read_text())
    del values[CHECKSUM]
    older = json.loads(json.dumps(values).replace("classifier_accuracy", "judge_accuracy"))
    assert older != values
    write_json(folder.table_json, with_checksum(older))
    with np.load(tmp_path / "replicates.npz") as file:
        assert str(file["rows"]) == hashlib.sha256(
            to_csv(ROWS).replace("classifier_accuracy", "judge_accuracy").encode()
        ).hexdigest()  # fmt: skip
    assert Table.read(folder) == TABLE
    assert list(read_replicates(folder, Table.read(folder).rows)) == [("accuracy", "all", "", 1.0)]
