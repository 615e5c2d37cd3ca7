"""Foreign checkpoints: official layouts, other numbers of classes, files that must not be trusted."""

import argparse
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from taildiff.errors import CheckpointError
from taildiff.models.convert import load_foreign, read_foreign
from taildiff.models.sit import SiT


def network(classes=7, width=48, **changes):
    torch.manual_seed(1)
    return SiT((8, 8), 4, classes, depth=3, width=width, heads=3, patch=2, learn_sigma=True, **changes)


@pytest.fixture
def official(golden):
    z = golden("sit_forward")
    return {k.removeprefix("param:"): torch.from_numpy(z[k]) for k in z.files if k.startswith("param:")}


@pytest.mark.parametrize("layout", ["flat", "training", "ddp", "safetensors"])
def test_official_files_load_unchanged(official, golden, tmp_path, layout):
    path = tmp_path / ("x.safetensors" if layout == "safetensors" else "x.pt")
    if layout == "safetensors":
        save_file(official, path)
    else:
        noise = {name: torch.zeros_like(value) for name, value in official.items()}
        content = {
            "flat": official,
            "training": {"model": noise, "ema": official, "opt": {"state": {}}, "args": argparse.Namespace(lr=1e-4)},
            "ddp": {"state_dict": {f"module.{name}": value for name, value in official.items()}},
        }
        torch.save(content[layout], path)
    net = network()
    load_foreign(net, read_foreign(path), str(path))
    z = golden("sit_forward")
    out = net.predict(torch.from_numpy(z["x"]), 1 - torch.from_numpy(z["t"]), torch.from_numpy(z["y"]))
    np.testing.assert_allclose(-out.detach(), z["output"], rtol=0, atol=1e-5 * np.abs(z["output"]).max())


def test_other_classes_get_a_new_table_and_keep_the_null_row(official):
    net = network(classes=3)
    fresh = net.y_embedder.embedding_table.weight.detach().clone()
    load_foreign(net, official, "official")
    table = net.y_embedder.embedding_table.weight
    assert torch.equal(table[:3], fresh[:3])
    assert torch.equal(table[3], official["y_embedder.embedding_table.weight"][-1])
    assert torch.equal(net.blocks[0].attn.qkv.weight, official["blocks.0.attn.qkv.weight"])


def test_what_does_not_fit_is_named_and_nothing_changes(official):
    net = network(width=24)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.adaLN_modulation\.1\.bias is \(288,\) rather than \(144,\)"):
        load_foreign(net, official, "official")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    extra = {**official, "stranger": torch.zeros(1)}
    del extra["x_embedder.proj.bias"]
    with pytest.raises(CheckpointError, match=r"stranger is not a parameter.*x_embedder\.proj\.bias is missing"):
        load_foreign(network(), extra, "official")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/taildiff-was-here",)


def test_files_that_hold_more_than_tensors_are_refused(official, tmp_path):
    torch.save({"model": official, "evil": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04 torn")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, message in [
        ("evil.pt", "contains non-tensor objects"),
        ("torn.pt", "is damaged"),
        ("list.pt", "contains no named parameters"),
        ("none.pt", "does not exist"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            read_foreign(tmp_path / name)
    assert not os.path.exists("/tmp/taildiff-was-here")  # noqa: PTH110
