"""Shared fixtures."""

import gc
import logging
import os
import signal
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from taildiff.cli.common import console
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.reporting import gallery, report
from taildiff.spec import (
    ALSpec,
    DataSpec,
    EMASpec,
    IntervalSpec,
    ObjectiveSpec,
    OptimizerSpec,
    RunSpec,
    SamplingSpec,
    UCLSpec,
    UNetSpec,
)
from taildiff.training import loop

os.environ["OMP_NUM_THREADS"] = "1"  # processes that tests start have to round as this one does; see _few_threads

GOLDEN = Path(__file__).parent / "golden"

settings.register_profile("taildiff", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("taildiff")


def pytest_collection_finish():
    """What torch and the collected tests hold stays to the end; no collection of garbage walks over it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _few_threads():
    """Small tensors gain nothing from threads, and the sums of one thread are the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _log_and_print_all():
    """Whatever `--quiet` an earlier test gave; tests read what the library logs from `caplog.messages`."""
    logging.getLogger("taildiff").setLevel(logging.INFO)
    console.quiet = False


@pytest.fixture(autouse=True, scope="session")
def _templates_compiled_once():
    """Not for every page, which takes 0.1 s."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (report, gallery):
            patch.setattr(module, "environment", cache(module.environment))
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_grids():
    """Training draws its sample grids in two steps; how images are sampled has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SamplingSpec", lambda steps=2: SamplingSpec(steps=steps))
        yield


@pytest.fixture(autouse=True)
def _empty_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """A chart takes 0.1 s and a report has two dozen; a test or module that looks at them is marked `charts`."""
    if not request.node.get_closest_marker("charts"):
        monkeypatch.setattr(report, "draw", lambda _chart, panel: f"<svg><title>{escape(panel.title)}</title></svg>")


@pytest.fixture(autouse=True)
def _signals_arrive():
    """Processes that tests start and signal would inherit what nohup and a shell's & ignore, and never end."""
    ignored = [number for number in (signal.SIGHUP, signal.SIGINT) if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("TAILDIFF_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def golden() -> Callable[[str], Mapping[str, Any]]:
    """Numbers of the public reference implementations: golden("ucl")["grad"]."""
    return lambda name: np.load(GOLDEN / f"{name}.npz")


@pytest.fixture
def make_store() -> Callable[..., Store]:
    """Stores of random small grey images: make_store(path, counts=(9, 6, 3), size=8, seed=0)."""

    def make(path: Path, counts: tuple[int, ...] = (9, 6, 3), size: int = 8, seed: int = 0) -> Store:
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(len(counts)), counts)
        images = rng.integers(0, 256, (len(labels), size, size, 1), dtype=np.uint8)
        names = tuple(f"c{i}" for i in range(len(counts)))
        with StoreWriter(path, "random", names, (size, size, 1), SourceMeta(source=f"random {seed}")) as writer:
            writer.append(images, labels, np.zeros(len(labels), bool))
            return writer.close()

    return make


@pytest.fixture
def tiny_store(tmp_path: Path, make_store: Callable[..., Store]) -> Store:
    """Eighteen images in three classes."""
    return make_store(tmp_path / "store")


@pytest.fixture
def tiny_spec() -> RunSpec:
    """Twelve steps of CCUA with dropout on a very small U-Net."""
    return RunSpec(
        recipe="tiny",
        steps=12,
        batch_size=8,
        data=DataSpec(resample=0.5, flip=True),
        model=UNetSpec(channels=(8, 16), dropout=0.1),
        objective=ObjectiveSpec(ucl=UCLSpec(weight=0.2), al=ALSpec(weight=0.2)),
        optimizer=OptimizerSpec(warmup=3),
        ema=EMASpec(decay=0.9),
        every=IntervalSpec(log=3, samples=6, save=4, keep=2),
    )


@pytest.fixture(scope="session")
def tiny_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random AutoencoderKL: colours, 4 latent channels, 8x8 pixels a latent; do not write to it."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    folder = tmp_path_factory.mktemp("vae") / "kl"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            norm_num_groups=4,
        )
    network.save_pretrained(folder)
    return folder
