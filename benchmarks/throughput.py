"""Training SiT in latents: images per second, memory, and the share of this machine's matrix-product rate.

    python benchmarks/throughput.py --budget 900                             # S/2 and B/2, within 900 s
    python benchmarks/throughput.py --models tiny/2:8 --modes float32 --seconds 5       # a quick try on a CPU

Each row is real training, `training.loop.train` on a session of `session.open_training`: latents of 4x32x32 drawn from
random moments, then forward, backward, clipping, AdamW, EMA and log; nothing is saved. Each row runs in its own process
with a time limit, so a row that fails, hangs or runs out of memory does not affect the others. Time is the median over
windows of steps, each ending with a synchronised GPU, after a warm-up that includes compilation. See work.py for the
work and the ceiling.
"""

import argparse
import itertools
import json
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from work import ceilings, step_tflop

from losses import peak, processor
from taildiff.data.latents import LatentMeta, LatentStore
from taildiff.data.store_files import SourceMeta, StoreMeta
from taildiff.engine import Engine
from taildiff.run.layout import RunDir
from taildiff.spec import (
    ALSpec,
    CodecFacts,
    DataSpec,
    IntervalSpec,
    ObjectiveSpec,
    OptimizerSpec,
    RunSpec,
    SiTSpec,
    UCLSpec,
)
from taildiff.training.loop import train
from taildiff.training.request import TrainingRequest
from taildiff.training.session import open_training

RESULTS = Path(__file__).parent / "results"
CLASSES, IMAGES = 1000, 2000
MODELS = {
    "tiny/2": (SiTSpec(depth=4, width=96, heads=3, patch=2), 8),
    "S/2": (SiTSpec(depth=12, width=384, heads=6, patch=2), 256),
    "B/2": (SiTSpec(depth=12, width=768, heads=12, patch=2), 128),
    "L/2": (SiTSpec(depth=24, width=1024, heads=16, patch=2), 64),
    "XL/2": (SiTSpec(depth=28, width=1152, heads=16, patch=2), 64),
}
"""The sizes, and a batch for each that fits on an 80 GB GPU in all modes."""
UCL, AL = UCLSpec(weight=0.05), ALSpec(weight=0.05)
METHODS = {
    "plain": ObjectiveSpec(),
    "CCUA": ObjectiveSpec(ucl=UCL, al=AL),
    "CCUA, shared": ObjectiveSpec(ucl=UCL, al=AL, shared_null=0.1),
}
NO_MEMORY = ("out of memory", "can't allocate memory", "MemoryError")
MODES = ("float32", "float32 compile", "bf16", "bf16 compile")


@dataclass(frozen=True)
class Row:
    """One configuration to measure."""

    model: str
    batch: int
    method: str
    mode: str

    @property
    def spec(self) -> RunSpec:
        """A run that ends only by the clock."""
        return RunSpec(
            recipe="throughput",
            steps=10**9,
            batch_size=self.batch,
            precision="bf16-mixed" if self.mode.startswith("bf16") else "32-true",
            compile=self.mode.endswith("compile"),
            data=DataSpec(flip=True),
            model=MODELS[self.model][0],
            objective=METHODS[self.method],
            optimizer=OptimizerSpec(lr=1e-4),
            every=IntervalSpec(log=10, save=0),
        )


@dataclass(frozen=True)
class Result:
    """A row and its measurements, or only a note if it failed."""

    row: Row
    note: str = ""
    step_ms: float = float("nan")
    windows: int = 0
    peak_gib: float = float("nan")
    step_tflop: float = float("nan")
    share: float = float("nan")
    """Share of the ceiling for the row's type."""

    @property
    def images_a_second(self) -> float:
        """Images per second; NaN if nothing was measured."""
        return 1000 * self.row.batch / self.step_ms


class EnoughError(Exception):
    """Raised inside training to end it."""


class Watch:
    """A progress callback that times the steps after the warm-up."""

    def __init__(self, warmup: int, window: int, seconds: float):
        self.warmup, self.window, self.seconds = warmup, window, seconds
        self.times: list[float] = []
        self._start = self._tick = 0.0

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Called after each step."""
        if done < self.warmup or (done - self.warmup) % self.window:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if done == self.warmup:
            self._start = now
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        else:
            self.times.append((now - self._tick) / self.window)
        self._tick = now
        if self.times and now - self._start >= self.seconds:
            raise EnoughError


@cache
def latents() -> LatentStore:
    """Moments of random images, in memory only."""
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % CLASSES
    names = tuple(f"c{i}" for i in range(CLASSES))
    source = SourceMeta(source="random")
    pixels = StoreMeta(
        name="random", class_names=names, height=256, width=256, channels=3, count=IMAGES, source=source, hash=""
    )
    codec = CodecFacts(source="none", kind="AutoencoderKL", hash="", channels=4, height=32, width=32, scaling=0.18215)
    info = LatentMeta(pixels=pixels, pixels_path="", codec=codec, rows=IMAGES, hash="")
    moments = rng.standard_normal(info.shape, np.float32).astype(np.float16)
    moments[:, :, 1] = np.abs(moments[:, :, 1]) / 10
    return LatentStore(Path(), pixels, labels, np.zeros(IMAGES, bool), info, moments)


def measure(row: Row, warmup: int, window: int, seconds: float) -> Result:
    """One row, in this process."""
    store, watch = latents(), Watch(warmup, window, seconds)
    with tempfile.TemporaryDirectory() as folder:
        try:
            request = TrainingRequest(RunDir(Path(folder)), row.spec, store)
            training = open_training(request, Engine(), watch)
            train(training)
        except EnoughError:
            pass
        except torch.OutOfMemoryError:
            return Result(row, "out of memory")
        training.tracker.close()
    used = peak("cuda" if torch.cuda.is_available() else "cpu") / 1024
    return Result(row, "", 1000 * statistics.median(watch.times), len(watch.times), used)


def measure_alone(row: Row, arguments: argparse.Namespace, limit: float) -> Result:
    """`measure` in its own process; at the limit, it and its children are killed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "result.json")
        settings = json.dumps([asdict(row), arguments.warmup, arguments.window, arguments.seconds, str(out)])
        log = Path(folder, "log")
        with log.open("w") as file:
            child = subprocess.Popen(
                [sys.executable, __file__, "--row", settings], stdout=file, stderr=file, start_new_session=True
            )
            try:
                code = child.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:  # compilers, too
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if out.exists():
            return replace(Result(row), **json.loads(out.read_text()))
        if code is None:
            return Result(row, f"not done in {limit:.0f} s")
        lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
        print("\n".join(lines[-30:]), file=sys.stderr)
        memory = code == -signal.SIGKILL or any(sign in line for line in lines[-30:] for sign in NO_MEMORY)
        return Result(row, "out of memory" if memory else f"failed: {lines[-1][:160]}")


def table(results: list[Result], machine: str, ceiling: dict[str, float]) -> str:
    """The Markdown table."""
    base = {(r.row.model, r.row.method, r.row.mode): r.images_a_second for r in results if not r.note}
    lines = [
        f"{machine}; matrix products reach " + ", ".join(f"{rate:.4g} TFLOP/s in {n}" for n, rate in ceiling.items()),
        "",
        "| model | batch | method | mode | images/s | ms a step | : float32 | : plain | GiB | TFLOP/s | of ceiling |",
        "|---|--:|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        row, speed = r.row, r.images_a_second
        start = f"| SiT-{row.model} | {row.batch} | {row.method} | {row.mode} |"
        if r.note:
            lines.append(f"{start} {r.note.replace('|', ' ')} |" + " – |" * 6)
            continue
        ratios = [base.get((row.model, *other)) for other in ((row.method, "float32"), ("plain", row.mode))]
        over = " | ".join(f"{speed / other:.2f}" if other else "–" for other in ratios)
        rate = r.step_tflop / r.step_ms * 1000
        lines.append(
            f"{start} {speed:.4g} | {r.step_ms:.4g} | {over} | {r.peak_gib:.2f} | {rate:.4g} | {r.share:.1%} |"
        )
    return "\n".join(lines) + "\n"


def write(
    out: Path, results: list[Result], machine: str, ceiling: dict[str, float], options: dict[str, object]
) -> None:
    """Write the JSON file and the Markdown table beside it; called after each row, so that nothing is lost."""
    rows = [
        {**asdict(r.row), **{k: _rounded(v) for k, v in asdict(r).items() if k != "row"}}
        | {"images_a_second": _rounded(r.images_a_second)}
        for r in results
    ]
    record = {
        "machine": machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "latent": "4x32x32",
        **options,
        "ceiling_tflop_a_second": {name: _rounded(rate) for name, rate in ceiling.items()},
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(results, machine, ceiling))


def _rounded(value: object) -> object:
    return (None if math.isnan(value) else float(f"{value:.5g}")) if isinstance(value, float) else value


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = ", ".join(f"{name}:{batch}" for name, (_, batch) in MODELS.items())
    parser.add_argument("--models", nargs="+", default=["S/2", "B/2"], help=f"model or model:batch; {named}")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["plain", "CCUA"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["float32", "bf16 compile", "bf16"])
    parser.add_argument("--seconds", type=float, default=10, help="measured per row, after the warm-up")
    parser.add_argument("--warmup", type=int, default=10, help="steps")
    parser.add_argument("--window", type=int, default=10, help="steps between clock readings")
    parser.add_argument("--limit", type=float, default=180, help="seconds per row, including start and compilation")
    parser.add_argument("--budget", type=float, default=900, help="seconds in total; rows that do not fit are left out")
    parser.add_argument("--out", type=Path, help="JSON file; the table is written beside it")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for given in options.models:
        if not re.fullmatch(f"({'|'.join(MODELS)})(:[1-9][0-9]*)?", given):
            parser.error(f"--models {given}: one of {', '.join(MODELS)}, with :BATCH where another one is wanted")
    return options


def main() -> None:
    options = parsed()
    if options.row:
        row, warmup, window, seconds, out = json.loads(options.row)
        result = measure(Row(**row), warmup, window, seconds)
        given = {name: getattr(result, name) for name in ("note", "step_ms", "windows", "peak_gib")}
        Path(out).write_text(json.dumps(given))
        return
    end = time.monotonic() + options.budget
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = processor(device) if device == "cuda" else f"{processor(device)}, {torch.get_num_threads()} threads"
    slug = re.sub(r"[^a-z0-9]+", "-", machine.lower() if device == "cuda" else f"cpu-{torch.get_num_threads()}")
    out = options.out or RESULTS / f"throughput-{slug.strip('-')}.json"
    ceiling, results, work = ceilings(device), [], {}
    kept = {name: getattr(options, name) for name in ("seconds", "warmup", "window")}
    for mode, model, method in itertools.product(options.modes, options.models, options.methods):
        name, _, batch = model.partition(":")
        row = Row(name, int(batch or MODELS[name][1]), method, mode)
        left = end - time.monotonic()
        result = measure_alone(row, options, min(options.limit, left)) if left > 20 else Result(row, "no time left")
        if not result.note:
            work.setdefault((row.model, row.method, row.batch), step_tflop(row.spec, latents().facts))
            done = work[row.model, row.method, row.batch]
            share = done / result.step_ms * 1000 / ceiling[mode.split()[0]]
            result = replace(result, step_tflop=done, share=share)
        results.append(result)
        print(f"{row}: {result.note or f'{result.images_a_second:.4g} images/s'}", flush=True)
        write(out, results, machine, ceiling, kept)
    print(table(results, machine, ceiling) + f"\nwrote {out}")


if __name__ == "__main__":
    main()
