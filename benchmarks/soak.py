"""Kill training at random moments until K kills have happened; every run must end as if nothing had ever disturbed it.

    python benchmarks/soak.py --kills 200 --seed 0        (make soak)

Tiny runs of 60 steps save every second step, so that many kills fall into saving. A process that has imported
everything forks each training and kills it with SIGKILL: after a random time, or (every second one) when a temporary
file of a checkpoint or weights file is seen. After one kill in six a file of the newest checkpoint is cut off at a
random length. A run that comes to its end is compared with an undisturbed one, byte for byte: network, average and
optimiser of each kept checkpoint, the weights files, metrics.jsonl without its seconds, the names of all files. Then
the next one begins.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: threads do not survive a fork

import numpy as np
import torch

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
LONGEST_S = 1.2
"""The longest life of a process that is killed by the clock; one that nobody kills ends after its 60 steps."""


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    saving: int = 0
    """Kills that left half a file or folder behind."""
    early: int = 0
    """Kills before the first checkpoint."""
    truncated: Counter[str] = field(default_factory=Counter)
    """Files cut off, by name."""
    finished: int = 0
    """Runs that ended, all equal to the undisturbed one."""
    passed_over: int = 0
    """Times that training said it passed over a damaged checkpoint."""


def make_store(path: Path) -> Store:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (9, 6, 3))
    images = rng.integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    with StoreWriter(path, "random", ("a", "b", "c"), (8, 8, 1), SourceMeta(source="random")) as writer:
        writer.append(images, labels, np.zeros(len(labels), bool))
        return writer.close()


def start(run: RunDir, store: Store, log: Path) -> int:
    """Fork a training; its messages are appended to `log`. The process's number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setpgid(0, 0)  # its helpers (git) go with it
        with log.open("a") as said:
            run_training(run, SPEC, store, say=lambda line: print(line, file=said, flush=True))
        code = 0
    except BaseException:
        with log.open("a") as said:
            traceback.print_exc(file=said)
    finally:
        os._exit(code)


def finish(process: int) -> None:
    """Wait for its end; its failure is ours."""
    _, status = os.waitpid(process, 0)
    if status:
        raise SystemExit(f"a training that was not killed failed with status {status}")


def ended(process: int) -> bool:
    """Whether it is over; its failure is ours."""
    done, status = os.waitpid(process, os.WNOHANG)
    if done and status:
        raise SystemExit(f"a training that was not killed failed with status {status}")
    return bool(done)


def half_written(run: RunDir) -> bool:
    """Whether anything temporary lies in the run: it is being saved, or was when it was killed."""
    places = (run.states, run.weights_dir, run.root)
    return any(name.startswith(".") and name.endswith((".tmp", ".old")) for place in places for name in names(place))


def names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (polled often)
    except FileNotFoundError:
        return []


def live(process: int, run: RunDir, rng: random.Random) -> bool:
    """Wait, then kill; False when training ended before."""
    at_saving = rng.random() < 0.5
    until = time.monotonic() + rng.uniform(0, LONGEST_S)
    while time.monotonic() < until or (at_saving and not half_written(run)):
        if ended(process):
            return False
        time.sleep(0.0002 if at_saving else 0.002)
    if at_saving:
        time.sleep(rng.uniform(0, 0.004))
    if ended(process):
        return False
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def cut_off(run: RunDir, cut: set[Path], rng: random.Random) -> str | None:
    """Truncate a file of the newest checkpoint, if another whole one is left; the file's name."""
    whole = [run.state(step) for step in run.checkpoint_steps() if run.state(step) not in cut]
    if len(whole) < 2 or rng.random() >= 1 / 6:
        return None
    path = rng.choice(sorted(path for path in whole[-1].iterdir()))
    os.truncate(path, rng.randrange(path.stat().st_size))
    cut.add(whole[-1])
    return path.name


def content(run: RunDir) -> dict[str, object]:
    """All that must be the same in the end."""
    found: dict[str, object] = {}
    for path in sorted(run.root.rglob("*")):
        name = str(path.relative_to(run.root))
        if path.is_file() and not name.startswith("state/damaged-"):
            found[name] = path.read_bytes() if path.suffix == ".safetensors" else None
    lines = map(json.loads, run.metrics.read_text().splitlines())
    found["metrics"] = [{key: value for key, value in line.items() if key not in ("seconds", "crc")} for line in lines]
    return found


def disturbed(run: RunDir, store: Store, log: Path, tally: Tally, kills: int, rng: random.Random) -> None:
    """One run from its beginning to its end, with as many kills as come its way."""
    cut: set[Path] = set()
    while True:
        process = start(run, store, log)
        if tally.kills >= kills:
            return finish(process)
        if not live(process, run, rng):
            return
        tally.kills += 1
        tally.saving += half_written(run)
        tally.early += not run.checkpoint_steps()
        cut = {folder for folder in cut if folder.exists()}
        if name := cut_off(run, cut, rng):
            tally.truncated[name] += 1


def campaign(folder: Path, kills: int, seed: int) -> Tally:
    """All runs; SystemExit names the first difference."""
    torch.set_num_threads(1)
    rng, tally, log = random.Random(seed), Tally(), folder / "said.txt"
    store, whole = make_store(folder / "store"), RunDir(folder / "whole")
    finish(start(whole, store, log))
    expected = content(whole)
    while tally.kills < kills:
        run = RunDir(folder / "run")
        disturbed(run, store, log, tally, kills, rng)
        got = content(run)
        if different := [name for name in expected.keys() | got.keys() if expected.get(name, 0) != got.get(name, 0)]:
            raise SystemExit(
                f"after {tally.kills} kills these differ from the undisturbed run: {different}; see {folder}"
            )
        tally.finished += 1
        shutil.rmtree(run.root)
    tally.passed_over = log.read_text().count("passed over a checkpoint")
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
        print((folder / "said.txt").read_text()[-3000:], file=sys.stderr)
        raise
    print(f"kills by SIGKILL                         {tally.kills}")
    print(f"  in the middle of saving                {tally.saving}")
    print(f"  before the first checkpoint            {tally.early}")
    cut = ", ".join(f"{name} {count}" for name, count in sorted(tally.truncated.items()))
    print(f"newest checkpoint cut off                {tally.truncated.total()}  ({cut})")
    print(f"  passed over, and said so               {tally.passed_over}")
    print(f"runs that ended, bitwise equal           {tally.finished} of {tally.finished}")
    print(f"seconds                                  {time.monotonic() - begun:.0f}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
