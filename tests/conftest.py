"""Shared fixtures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

GOLDEN = Path(__file__).parent / "golden"

settings.register_profile("taildiff", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("taildiff")


@pytest.fixture(autouse=True, scope="session")
def _few_threads():
    """Small tensors gain nothing from threads, and the sums of one thread are the same everywhere."""
    torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("TAILDIFF_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def golden() -> Callable[[str], Mapping[str, Any]]:
    """Numbers of the public reference implementations: golden("ucl")["grad"]."""
    return lambda name: np.load(GOLDEN / f"{name}.npz")
