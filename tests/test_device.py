"""Devices by name, and float64 where a device has it."""

import pytest
import torch

from taildiff.device import chosen_device, wide, widest
from taildiff.errors import SpecError


def test_without_a_name_a_gpu_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen_device() == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert chosen_device() == "cuda"


def test_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert chosen_device(name) == name
    with pytest.raises(SpecError, match="--device cuda:2: there are only 2"):
        chosen_device("cuda:2")
    for name in ("gpu", "cuda:x", "cuda:-1", ""):
        with pytest.raises(SpecError, match="unknown device"):
            chosen_device(name)


def test_a_device_without_float64_gets_float32():
    assert widest(torch.device("cpu")) == widest(torch.device("cuda")) == torch.float64
    assert widest(torch.device("mps")) == torch.float32
    assert wide(torch.zeros(1)).dtype == torch.float64
