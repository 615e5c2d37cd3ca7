"""A store whose classes are easy to tell apart, and a run on it with an untrained network."""

from pathlib import Path

import numpy as np

from taildiff import build
from taildiff.data.longtail import Split
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.io.atomic import write_json
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir
from taildiff.run.weights import WeightsMeta, write_weights
from taildiff.spec import DataSpec, RunSpec, UNetSpec

SIZE = 8
NAMES = ("left", "right", "top")


def images(counts: tuple[int, ...], channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 8, 8, C) and labels: noise with a bright half, whose place is the class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pictures = np.random.default_rng(seed).integers(0, 90, (len(labels), SIZE, SIZE, channels))
    halves = np.zeros((3, SIZE, SIZE, 1), dtype=int)
    halves[0, :, : SIZE // 2] = halves[1, :, SIZE // 2 :] = halves[2, : SIZE // 2] = 130
    return (pictures + halves[labels]).astype(np.uint8), labels


def make_store(path: Path, train: tuple[int, ...], test: tuple[int, ...] = (0, 0, 0), channels: int = 1) -> Store:
    """A store with so many images of each class."""
    with StoreWriter(path, "halves", NAMES, (SIZE, SIZE, channels), SourceMeta(source="made")) as writer:
        for number, (counts, held_out) in enumerate(((train, False), (test, True))):
            pictures, labels = images(counts, channels, seed=number)
            writer.append(pictures, labels, np.full(len(labels), held_out))
        return writer.close()


def make_run(path: Path, store: Store, step: int = 5, data: DataSpec | None = None) -> RunDir:
    """A run as training leaves it, with the network that the seed 0 starts from."""
    run = RunDir(path)
    spec = RunSpec(model=UNetSpec(channels=(8, 16), zero_init=False), steps=step, data=data or DataSpec())
    place = {"path": str(store.root), "hash": store.meta.hash}
    split = Split.cut(store, spec.data)
    info = {"spec": spec.model_dump(mode="json"), "facts": store.facts.model_dump(mode="json"), "store": place}
    write_json(run.spec, add_checksum(info | {"format": 2, "split_hash": split.hash}))
    split.save(run.split)
    network = build.denoiser(spec.model, store.facts)
    meta = WeightsMeta(kind="ema", step=step, spec=spec, facts=store.facts)
    write_weights(run.weights(step), dict(network.state_dict()), meta)
    return run
