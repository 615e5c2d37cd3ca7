"""Time and memory of our losses, compared with direct implementations of the formulas.

    python benchmarks/losses.py [--batch 64] [--features 8192] [--device cpu] [--out FILE.json]

`loop` iterates over samples or pairs of samples in Python; `broadcast` builds all differences or negatives at once, a
tensor [B, B, D] as in the releases. Forward and backward (T2H: forward); the time is the best of all runs in half a
second, at least `--repeats`; the memory is the peak beyond the inputs. Each case runs in its own process, whose peak is
read (Linux, or `--device cuda`). All versions must give the same numbers. The last line is UCL on tokens of SiT-S/2 at
batch 256, where one tensor [B, B-1, D] has 25.7 GB. The defaults take less than a minute.
"""

import argparse
import json
import math
import multiprocessing
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from taildiff import losses

Loss = Callable[[Tensor, Tensor], Tensor]
SIGMA = 1.5
LARGE = 256, 98_304


def ucl_loop(h: Tensor, _: Tensor) -> Tensor:
    z = [row / row.norm() for row in h]
    values = []
    for i in range(len(z)):
        negatives = [((z[i] @ z[j] - 1) / 0.1).exp() for j in range(len(z)) if j != i]
        values.append(torch.log(1 + torch.stack(negatives).sum()))
    return torch.stack(values)


def ucl_broadcast(h: Tensor, _: Tensor) -> Tensor:
    z = F.normalize(h, dim=1)
    others = torch.stack([torch.cat([z[:i], z[i + 1 :]]) for i in range(len(z))])  # [B, B-1, D]
    return torch.log(1 + (((z[:, None] * others).sum(-1) - 1) / 0.1).exp().sum(1))


def al_loop(h: Tensor, other: Tensor) -> Tensor:
    return torch.stack([((a - b) ** 2).mean() for a, b in zip(h, other, strict=True)])


def t2h_loop(h: Tensor, other: Tensor) -> Tensor:
    rows = []
    for i in range(len(h)):
        noisy = h[i] + SIGMA * other[i]
        distances = torch.stack([((noisy - h[j]) ** 2).sum() for j in range(len(h))])
        rows.append(torch.softmax(-distances / (2 * SIGMA**2), dim=0))
    return torch.stack(rows)


def t2h_broadcast(h: Tensor, other: Tensor) -> Tensor:
    distances = (((h + SIGMA * other)[:, None] - h) ** 2).sum(-1)  # from [B, B, D]
    return torch.softmax(-distances / (2 * SIGMA**2), dim=1)


def dispersive_loop(h: Tensor, _: Tensor) -> Tensor:
    terms = [torch.exp(-((a - b) ** 2).sum() / h.shape[1]) for a in h for b in h]
    return torch.stack(terms).mean().log()


def dispersive_broadcast(h: Tensor, _: Tensor) -> Tensor:
    return torch.exp(-((h[:, None] - h) ** 2).mean(-1)).mean().log()


def t2h_ours(h: Tensor, other: Tensor) -> Tensor:
    return losses.transfer_weights(h, other, torch.full((len(h),), SIGMA, device=h.device))


CASES: dict[str, dict[str, Loss]] = {
    "UCL": {"ours": lambda h, _: losses.unsupervised_contrastive(h), "loop": ucl_loop, "broadcast": ucl_broadcast},
    "AL": {"ours": losses.alignment, "loop": al_loop},
    "T2H": {"ours": t2h_ours, "loop": t2h_loop, "broadcast": t2h_broadcast},
    "Dispersive": {
        "ours": lambda h, _: losses.dispersive(h),
        "loop": dispersive_loop,
        "broadcast": dispersive_broadcast,
    },
}


@dataclass(frozen=True)
class Measured:
    """The measurement of one version of one loss."""

    loss: str
    version: str
    seconds: float
    mebibytes: float
    values: list[float]


def peak(device: str) -> float:
    """Peak memory so far in MiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(loss: str, version: str, batch: int, features: int, device: str, repeats: int, threads: int) -> Measured:
    torch.set_num_threads(threads)
    function = CASES[loss][version]

    def run(h: Tensor, other: Tensor) -> Tensor:
        h.grad = None
        values = function(h, other)
        if loss != "T2H":
            values.mean().backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return values.detach()

    def inputs(b: int, d: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        # cosines around 0.5 and squared distances around 8, so that no loss is saturated
        h = (torch.randn(b, d, generator=generator) + torch.randn(d, generator=generator)) * 2 / math.sqrt(d)
        other = torch.randn(b, d, generator=generator)
        return h.to(device).requires_grad_(loss != "T2H"), other.to(device)

    run(*inputs(2, 8))  # warm-up: loads libraries
    h, other = inputs(batch, features)
    before = peak(device)
    values = run(h, other)
    used = peak(device) - before
    times: list[float] = []
    while len(times) < repeats or sum(times) < 0.5:
        start = time.perf_counter()
        run(h, other)
        times.append(time.perf_counter() - start)
    return Measured(loss, version, min(times), used, values.flatten().tolist())


def measure_alone(*arguments: object) -> Measured:
    """`measure` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def processor(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def show(results: list[Measured], title: str) -> None:
    table = Table(title=title)
    for column in ("loss", "version", "ms", "MiB", "time : ours", "memory : ours"):
        table.add_column(column, justify="left" if column in ("loss", "version") else "right")
    ours = {result.loss: result for result in results if result.version == "ours"}
    for result in results:
        base = ours[result.loss]
        ratios = f"{result.seconds / base.seconds:.1f}", f"{result.mebibytes / max(base.mebibytes, 0.1):.1f}"
        table.add_row(result.loss, result.version, f"{1000 * result.seconds:.2f}", f"{result.mebibytes:.1f}", *ratios)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--features", type=int, default=8192, help="elements per sample, D")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to store the numbers as JSON")
    args = parser.parse_args()
    settings = args.batch, args.features, args.device, args.repeats, args.threads

    results: list[Measured] = []
    large = measure_alone("UCL", "ours", *LARGE, args.device, 1, args.threads)
    for loss, versions in CASES.items():
        same = [measure_alone(loss, version, *settings) for version in versions]
        for other in same[1:]:
            torch.testing.assert_close(torch.tensor(other.values), torch.tensor(same[0].values), rtol=1e-3, atol=1e-6)
        results += same
    show(results, f"losses, B = {args.batch}, D = {args.features}, {args.device}, torch {torch.__version__}")
    size = f"B = {LARGE[0]}, D = {LARGE[1]:,}"
    print(f"UCL at {size}: {large.seconds:.2f} s, {large.mebibytes:.0f} MiB beyond its input")
    if args.out:
        machine = {"machine": platform.machine(), "processor": processor(args.device), "torch": torch.__version__}
        rows = [{k: v for k, v in asdict(result).items() if k != "values"} for result in [*results, large]]
        rows[-1] |= {"batch": LARGE[0], "features": LARGE[1]}
        record = machine | {k: v for k, v in vars(args).items() if k != "out"} | {"results": rows}
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
