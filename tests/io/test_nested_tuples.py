"""Nested tuples are refused before their hash is needed, and what torch writes is not."""

import argparse
import io
import pickle
import time
from collections import OrderedDict
from zipfile import ZipFile

import pytest
import torch

from taildiff.errors import CheckpointError
from taildiff.io.nested_tuples import check_checkpoint, check_pickle
from taildiff.models.convert import read_foreign

DEPTH = 60


def key(depth: int) -> object:
    nested: object = (1,)
    for _ in range(depth):
        nested = (nested, nested)
    return nested


def as_key(depth: int) -> bytes:
    """A dict whose key is the nested tuple; pickling the dict itself would hash it."""
    body = pickle.dumps(key(depth), protocol=2)[2:-1]
    return b"\x80\x02}" + body + b"K\x01s."


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_of_nested_tuples_is_refused_at_once(tmp_path, legacy):
    path = tmp_path / "nested.pt"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=not legacy)
    if legacy:
        head = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
        path.write_bytes(head + as_key(DEPTH))
    else:
        with ZipFile(path) as old:
            entries = {name: old.read(name) for name in old.namelist()}
        with ZipFile(path, "w") as new:
            for name, content in entries.items():
                new.writestr(name, as_key(DEPTH) if name.endswith("data.pkl") else content)
    before = time.process_time()
    with pytest.raises(CheckpointError, match="nests tuples to more than 1,000,000 items"):
        read_foreign(path)
    assert time.process_time() - before < 5


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_saves_passes(tmp_path, legacy):
    network = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(50)))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(3)).sum().backward()
    optimiser.step()
    content = {
        "model": network.state_dict(),
        "opt": optimiser.state_dict(),
        "args": argparse.Namespace(size=(1, 2), names=["a"]),
        "ordered": OrderedDict(a=(torch.ones(2),) * 100),
    }
    torch.save(content, tmp_path / "all.pt", _use_new_zipfile_serialization=not legacy)
    check_checkpoint(tmp_path / "all.pt")


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_followed(protocol):
    plain = {"a": [1, 2.5, None, True, b"x", "y", {3}, frozenset({4}), (5, (6, 7))], ("b", 1): {"c": ((), [])}}
    check_pickle(io.BytesIO(pickle.dumps(plain, protocol)))
    with pytest.raises(ValueError, match="nests tuples"):
        check_pickle(io.BytesIO(pickle.dumps([key(DEPTH)], protocol)))
