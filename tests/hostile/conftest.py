"""The good files, which the tests break and restore."""

from pathlib import Path

import numpy as np
import pytest

from hostile.subjects import Subject, of_evaluation, of_latents, of_photos, of_run, of_sources, of_spec, of_store
from reporting.fake_runs import make_run
from taildiff.data.store import SourceMeta, StoreWriter
from taildiff.run.layout import RunDir
from taildiff.spec import IntervalSpec, RunSpec, UNetSpec
from taildiff.training.session import run_training


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> dict[str, Subject]:
    root: Path = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    with StoreWriter(root / "store", "r", ("a", "b", "c"), (8, 8, 1), SourceMeta(source="r")) as writer:
        writer.append(rng.integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12) % 3, np.arange(12) > 9)
        store = writer.close()
    spec = RunSpec(steps=4, batch_size=4, model=UNetSpec(channels=(8,)), every=IntervalSpec(log=1))
    run = RunDir(root / "run")
    run_training(run, spec, store)
    pictures = rng.integers(0, 256, (9, 8, 8, 1), np.uint8), np.arange(9) % 3
    judged = make_run(root / "judged", counts=(9, 6, 3), names=("a", "b", "c"), images=pictures)
    subjects = [
        *of_latents(store, root / "latents"),
        *(of_store(store) + of_run(run, spec, store) + of_evaluation(judged)),
        *(of_spec(root / "spec.json", spec), *of_photos(root / "photos", root / "prepared")),
        *of_sources(root / "sources"),
    ]
    return {subject.name: subject for subject in subjects}
