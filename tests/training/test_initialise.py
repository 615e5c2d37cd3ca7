"""Starting from weights of other classes: rows of the label table by class name; NaN weights are refused."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cli.calls import call, said
from evaluation import tiny
from taildiff.errors import CheckpointError, RunError
from taildiff.models.convert import LABELS
from taildiff.run.layout import RunDir, weights_at
from taildiff.run.weights import read_weights, write_weights
from taildiff.sampling.generate import load_model
from taildiff.spec import DataFacts, RunSpec, UNetSpec
from taildiff.training.initialise import initialise

SPEC = RunSpec(model=UNetSpec(channels=(8, 16)), steps=5)


def facts(*names: str) -> DataFacts:
    return DataFacts(height=8, width=8, channels=1, class_names=names, counts=(9,) * len(names), name="x")


def table(tensors: dict[str, Tensor]) -> Tensor:
    return next(value for name, value in tensors.items() if name in LABELS)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """An untrained run on the classes left, right, top."""
    return tiny.make_run(tmp_path / "run", tiny.make_store(tmp_path / "store", (6, 4, 2)))


def started(start: Path, *names: str) -> tuple[Tensor, Tensor]:
    """The label table of a new run from these weights, and that of one from its seed alone."""
    own = facts(*names)
    found = (initialise(SPEC, own, own.counts, start_from).denoiser.state_dict() for start_from in (start, None))
    with_start, fresh = map(table, found)
    return with_start, fresh


def test_rows_are_carried_over_by_class_name(run: RunDir, caplog: pytest.LogCaptureFixture):
    given = table(read_weights(run.weights(5))[0])
    with caplog.at_level(logging.INFO, "taildiff"):
        rows, fresh = started(run.weights(5), "owl", "top", "left", "yak")
    assert torch.equal(rows[1], given[2])
    assert torch.equal(rows[2], given[0])
    assert torch.equal(rows[-1], given[-1])  # the null label
    assert torch.equal(rows[[0, 3]], fresh[[0, 3]])
    assert "2 of 4 classes keep their rows of the label table, by name; new: owl, yak; not used: right" in caplog.text


def test_equally_many_classes_in_another_order_are_not_mixed_up(run: RunDir, caplog: pytest.LogCaptureFixture):
    given = table(read_weights(run.weights(5))[0])
    with caplog.at_level(logging.INFO, "taildiff"):
        rows, _ = started(run.weights(5), "top", "right", "left")
        assert torch.equal(rows, given[[2, 1, 0, 3]])
        assert "3 of 3 classes" in caplog.text
        caplog.clear()
        same, _ = started(run.root, "left", "right", "top")  # the run itself: its newest weights
    assert torch.equal(same, given)
    assert not caplog.text
    others, fresh = started(run.weights(5), "a", "b", "c")
    assert torch.equal(others[:3], fresh[:3])


def test_a_run_without_weights_is_refused(run: RunDir):
    run.weights(5).unlink()
    with pytest.raises(RunError, match="has no weights yet"):
        weights_at(run.root)


def test_weights_that_are_not_finite_are_refused_as_such(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tensors, meta = read_weights(run.weights(5))
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    write_weights(run.weights(5), tensors, meta)
    own = facts("left", "right", "top")
    with pytest.raises(CheckpointError, match=r"--from .* has weights that are NaN or infinite \(.*Use weights of an"):
        initialise(SPEC, own, own.counts, run.weights(5))
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        load_model(run)
    assert call("sample", run.root, "--per-class", 1, "--steps", 1, "--out", tmp_path / "x") == 2
    assert "NaN or infinite" in said(capsys)
    foreign = tmp_path / "official.pt"
    torch.save(tensors, foreign)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        initialise(SPEC, own, own.counts, foreign)
