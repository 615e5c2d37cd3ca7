"""Kill training at random moments, K times in all; every run must end bitwise equal to an undisturbed one.

    python benchmarks/soak.py --kills 200 --seed 0        (make soak: 60)

Tiny runs of 60 steps save every second step, so that many kills interrupt saving. A process that has imported
everything forks each training and kills it with SIGKILL after a random CPU time or, every second time, after a random
number of file operations. After one kill in six, a file of the newest checkpoint is truncated at a random length. A run
that finishes is compared byte for byte with an undisturbed one: all files, but for times and checksums over them. Then
the next run starts.
"""

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: threads do not survive a fork

import numpy as np
import torch
from killing import Work, content, half_written

from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.run.layout import RunDir
from taildiff.spec import (
    ALSpec,
    DataSpec,
    EMASpec,
    IntervalSpec,
    ObjectiveSpec,
    OptimizerSpec,
    RunSpec,
    UCLSpec,
    UNetSpec,
)
from taildiff.training.session import run_training

SPEC = RunSpec(
    recipe="soak",
    steps=60,
    batch_size=4,
    data=DataSpec(resample=0.5, flip=True),
    model=UNetSpec(channels=(8, 16), dropout=0.1),
    objective=ObjectiveSpec(ucl=UCLSpec(weight=0.2), al=ALSpec(weight=0.2)),
    optimizer=OptimizerSpec(warmup=3),
    ema=EMASpec(decay=0.9),
    every=IntervalSpec(log=3, samples=0, save=2, keep=3),
)
LONGEST_S, MOST_OPERATIONS = 1.2, 600
"""The longest CPU time, and the most file operations, before a process is killed; others end after their 60 steps."""


@dataclass
class Tally:
    """Counts of what happened."""

    kills: int = 0
    saving: int = 0
    """Kills that left a half-written file or folder."""
    early: int = 0
    """Kills before the first checkpoint."""
    truncated: Counter[str] = field(default_factory=Counter)
    """Truncated files, by name."""
    finished: int = 0
    """Finished runs, all equal to the undisturbed one."""
    ignored: int = 0
    """Damaged checkpoints that training reported and ignored."""


def make_store(path: Path) -> Store:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (9, 6, 3))
    images = rng.integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    with StoreWriter(path, "random", ("a", "b", "c"), (8, 8, 1), SourceMeta(source="random")) as writer:
        writer.append(images, labels, np.zeros(len(labels), bool))
        return writer.close()


def start(run: RunDir, store: Store, log: Path) -> Work:
    """Start a training that appends its messages to `log`."""

    def work() -> int:
        logger = logging.getLogger("taildiff")
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.StreamHandler())
        run_training(run, SPEC, store)
        return 0

    return Work(work, log)


def finish(process: Work) -> None:
    """Wait for the process; exits if it failed."""
    if code := process.wait():
        raise SystemExit(f"a training that was not killed failed with status {code}")


def cut_off(run: RunDir, cut: set[Path], rng: random.Random) -> str | None:
    """Truncate a file of the newest checkpoint if another intact one is left; returns the file's name."""
    intact = [run.state(step) for step in run.checkpoint_steps() if run.state(step) not in cut]
    if len(intact) < 2 or rng.random() >= 1 / 6:
        return None
    path = rng.choice(sorted(path for path in intact[-1].iterdir()))
    os.truncate(path, rng.randrange(path.stat().st_size))
    cut.add(intact[-1])
    return path.name


def files(run: RunDir) -> dict[str, bytes]:
    """Everything that must be equal at the end."""
    return {name: data for name, data in content(run.root).items() if not name.startswith("state/damaged-")}


def disturbed(run: RunDir, store: Store, log: Path, tally: Tally, kills: int, rng: random.Random) -> None:
    """One run from start to finish, killed at random moments."""
    cut: set[Path] = set()
    while True:
        process = start(run, store, log)
        if tally.kills >= kills:
            return finish(process)
        if not process.kill_at_random(rng, LONGEST_S, MOST_OPERATIONS):
            return finish(process)
        tally.kills += 1
        tally.saving += half_written(run.root)
        tally.early += not run.checkpoint_steps()
        cut = {folder for folder in cut if folder.exists()}
        if name := cut_off(run, cut, rng):
            tally.truncated[name] += 1


def campaign(folder: Path, kills: int, seed: int) -> Tally:
    """All runs; SystemExit names the first difference."""
    torch.set_num_threads(1)
    rng, tally, log = random.Random(seed), Tally(), folder / "log.txt"
    store, whole = make_store(folder / "store"), RunDir(folder / "whole")
    finish(start(whole, store, log))
    expected = files(whole)
    while tally.kills < kills:
        run = RunDir(folder / "run")
        disturbed(run, store, log, tally, kills, rng)
        got = files(run)
        if different := [name for name in expected.keys() | got.keys() if expected.get(name, 0) != got.get(name, 0)]:
            raise SystemExit(
                f"after {tally.kills} kills these differ from the undisturbed run: {different}; see {folder}"
            )
        tally.finished += 1
        shutil.rmtree(run.root)
    tally.ignored = log.read_text().count("ignored a damaged checkpoint")
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="taildiff-soak-"))
    try:
        tally = campaign(folder, options.kills, options.seed)
    except SystemExit:
        print((folder / "log.txt").read_text()[-3000:], file=sys.stderr)
        raise
    print(f"kills by SIGKILL                         {tally.kills}")
    print(f"  in the middle of saving                {tally.saving}")
    print(f"  before the first checkpoint            {tally.early}")
    cut = ", ".join(f"{name} {count}" for name, count in sorted(tally.truncated.items()))
    print(f"newest checkpoint truncated              {tally.truncated.total()}  ({cut})")
    print(f"  reported and ignored                   {tally.ignored}")
    print(f"finished runs, bitwise equal             {tally.finished} of {tally.finished}")
    print(f"seconds                                  {time.monotonic() - begun:.0f}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
