"""Seconds of a training step: taildiff beside a published CCUA loop and a bare diffusers loop (loops.py), in turns.

    python benchmarks/baseline.py                                                  # the U-Net of cifar10lt, batch 16
    python benchmarks/baseline.py --network mnist5k --batch-size 64 --out small.json
    python benchmarks/baseline.py --sides "published ccua" ccua-shared --modes float32 "bf16 compile"

A round is one step of each side, in one process, so that a drift of the machine's speed affects all of them; figures
are medians over rounds, and ratios are medians of the ratios within a round. The wall clock counts everything; CPU
seconds are those of this process's threads, which other work on the machine hardly changes but which leave out the
workers of the loops' DataLoader. All sides have the allocator's setting that taildiff makes (memory.py).

Modes are taildiff's: float32, tf32 (on a GPU), bf16, with compile, channels-last and graphs (CUDA graphs) added. The
two loops run in float32 only, and where it is asked for in tf32.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from loops import Bare, Ours, Published, Side, random_store, tail
from work import ceilings, step_tflop

from losses import processor
from taildiff.data.store import Store
from taildiff.device import has_bf16
from taildiff.engine import Engine
from taildiff.recipes import recipe, with_method
from taildiff.spec import DataSpec, IntervalSpec, RunSpec

LOOPS = ("published ccua", "published plain", "diffusers")
OURS = ("plain", "ccua", "ccua-cheap", "ccua-shared")
NETWORKS = {"cifar10lt": ((3, 32, 32), 16, 12_406), "mnist5k": ((1, 28, 28), 64, 988)}
"""Shape, batch size on a CPU, and number of images."""


@dataclass(frozen=True)
class Measured:
    """One side in one mode; medians over rounds."""

    side: str
    mode: str
    ms: float
    cpu_ms: float
    gib: float
    """Peak of GPU memory during a step above what all sides keep between steps; 0 on a CPU."""
    rounds: int
    note: str = ""
    """Why there is no measurement."""
    share: float | None = None
    """Of the best rate of matrix products in the mode's type, for taildiff's sides, if it was asked for."""


def spec_of(network: str, method: str, mode: str, batch_size: int) -> RunSpec:
    """A run of one side; the images are cut already, and drawn with class resampling."""
    spec = with_method(recipe(f"{network}-plain"), method)
    return spec.model_copy(
        update={
            "steps": 10**9,
            "batch_size": batch_size,
            "precision": "bf16-mixed" if "bf16" in mode else "32-true",
            "compile": "compile" in mode,
            "data": DataSpec(resample=0.1, flip=True),
            "every": IntervalSpec(log=10, save=0),
        }
    )


def opened(side: str, mode: str, spec: RunSpec, store: Store, engine: Engine, folder: Path) -> Side:
    """The side, before its first step."""
    match side:
        case "published ccua" | "published plain":
            return Published(spec, store, engine.device, ccua=side.endswith("ccua"))
        case "diffusers":
            return Bare(spec, store, engine.device)
        case _:
            return Ours(spec, store, engine, folder, layout="channels-last" in mode)


class Clock:
    """Wall and CPU seconds and GiB of one step."""

    def __init__(self, device: torch.device):
        self.gpu = device.type == "cuda"

    def __call__(self, side: Side, mode: str, number: int) -> tuple[float, float, float]:
        """Take one step."""
        torch.set_float32_matmul_precision("high" if "tf32" in mode else "highest")
        torch.backends.cudnn.allow_tf32 = "tf32" in mode
        if self.gpu:
            torch._inductor.config.triton.cudagraphs = "graphs" in mode
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            kept = torch.cuda.memory_allocated()
        start = time.perf_counter(), time.process_time()
        side.step(number)
        if self.gpu:
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        return wall, cpu, (torch.cuda.max_memory_allocated() - kept) / 2**30 if self.gpu else 0.0


def measure(
    network: str,
    batch_size: int | None = None,
    sides: tuple[str, ...] = (*LOOPS, *OURS),
    modes: tuple[str, ...] = ("float32",),
    rounds: int = 12,
    seconds: float = float("inf"),
) -> tuple[list[Measured], dict[str, float]]:
    """Medians of each side and mode, and ratios; stops after `seconds`, at the end of a round but the first."""
    shape, usual, images = NETWORKS[network]
    end, engine, batch_size = time.monotonic() + seconds, Engine(), batch_size or usual
    store, clock, failed = random_store(shape, tail(images)), Clock(engine.device), list[Measured]()
    keys = [(s, m) for m in modes for s in sides if s in OURS or m in ("float32", "tf32")]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = dict[tuple[str, str], Side]()
        for place, (side, mode) in enumerate(keys):
            spec = spec_of(network, side if side in OURS else "plain", mode, batch_size)
            try:
                opening = opened(side, mode, spec, store, engine, Path(folder) / str(place))
                stack.callback(opening.close)
                for number in (0, 1):  # allocates, and compiles
                    clock(opening, mode, number)
                running[side, mode] = opening
            except RuntimeError as error:  # out of memory, a compiler that fails: the other sides go on
                failed.append(Measured(side, mode, 0, 0, 0, 0, f"{type(error).__name__}: {str(error)[:200]}"))
        turns = list[dict[tuple[str, str], tuple[float, float, float]]]()
        while len(turns) < rounds and (not turns or time.monotonic() < end):
            turns.append({key: clock(side, key[1], len(turns) + 2) for key, side in running.items()})
    found = [Measured(*key, *_medians([turn[key] for turn in turns]), len(turns)) for key in running]
    return [*found, *failed], ratios(turns)


def _medians(steps: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    wall, cpu, gib = zip(*steps, strict=True)
    return round(1000 * statistics.median(wall), 2), round(1000 * statistics.median(cpu), 2), round(max(gib), 3)


def ratios(turns: list[dict[tuple[str, str], tuple[float, float, float]]]) -> dict[str, float]:
    """How much faster taildiff is, by name: of wall time, and of CPU time where the name ends in `(CPU)`."""
    keys, found = list(turns[0]), {}
    against = [(a, b) for a in ("published ccua", "published plain", "diffusers") for b in OURS]
    against = [(a, b) for a, b in against if (b == "plain") != (a == "published ccua")]
    for mode in {key[1]: None for key in keys}:
        pairs = [((a, m), (b, mode)) for a, b in against for m in ("float32", "tf32") if m == mode or m == "float32"]
        pairs += [(("plain", mode), (b, mode)) for b in OURS[1:]]
        for one, other in pairs:
            if one in keys and other in keys:
                name = f"{' '.join(one)} / {' '.join(other)}"
                for place, clock in enumerate(("", " (CPU)")):
                    values = [turn[one][place] / turn[other][place] for turn in turns]
                    found[name + clock] = round(statistics.median(values), 3)
    return found


def with_share(measured: list[Measured], network: str, batch_size: int, device: torch.device) -> list[Measured]:
    """The same with the share of the ceiling (work.py)."""
    facts, rates = random_store(NETWORKS[network][0], tail(NETWORKS[network][2])).facts, ceilings(device.type)
    work = {side: step_tflop(spec_of(network, side, "", batch_size), facts, device) for side in OURS}
    return [
        replace(m, share=round(1000 * work[m.side] / m.ms / rates["bf16" if "bf16" in m.mode else "float32"], 4))
        if m.side in OURS and m.ms
        else m
        for m in measured
    ]


def machine(device: torch.device) -> str:
    """The processor and what it can do in bf16."""
    if device.type == "cuda":
        return processor("cuda")
    wide = torch.backends.cpu.get_cpu_capability()
    return f"{wide}, {'bf16' if has_bf16(device) else 'no bf16'}, {torch.get_num_threads()} threads"


def report(measured: list[Measured], ratio: Mapping[str, float]) -> str:
    """Tables in Markdown."""
    lines = ["| side | mode | ms a step | CPU ms | GiB | of ceiling |", "|---|---|--:|--:|--:|--:|"]
    for m in measured:
        share = "" if m.share is None else f"{m.share:.1%}"
        figures = m.note or f"{m.ms:.4g} | {m.cpu_ms:.4g} | {m.gib:.2f} | {share}"
        lines.append(f"| {m.side} | {m.mode} | {figures} |")
    lines += ["", "| time of / time of | ratio |", "|---|--:|", *(f"| {n} | {v:.2f} |" for n, v in ratio.items())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="cifar10lt")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--sides", nargs="+", choices=(*LOOPS, *OURS), default=[*LOOPS, *OURS])
    parser.add_argument("--modes", nargs="+", default=["float32"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no further round after this time")
    parser.add_argument("--ceiling", action="store_true", help="also the share of the best rate of matrix products")
    parser.add_argument("--out", type=Path, help="JSON file")
    o = parser.parse_args()
    measured, ratio = measure(o.network, o.batch_size, tuple(o.sides), tuple(o.modes), o.rounds, o.seconds)
    device, batch_size = Engine().device, o.batch_size or NETWORKS[o.network][1]
    if o.ceiling:
        measured = with_share(measured, o.network, batch_size, device)
    print(f"{o.network}, {machine(device)}, torch {torch.__version__}, {measured[0].rounds} rounds")
    print(report(measured, ratio))
    if o.out:
        record = {
            "network": o.network,
            "batch": batch_size,
            "machine": machine(device),
            "processor": processor(device.type),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "sides": [asdict(m) for m in measured],
            "ratio": ratio,
        }
        o.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
