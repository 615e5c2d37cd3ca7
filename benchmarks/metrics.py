"""Time and memory of Fréchet distance, precision and recall, compared with the usual code, on Inception-like features.

    python benchmarks/metrics.py --out benchmarks/results/metrics.json [--n 10000] [--dim 2048] [--threads 1] [--full]

Fréchet distance: compared with numpy's covariance and scipy's `sqrtm`. Precision and recall (k = 3): compared with the
package prdc, which holds all distances in memory. Each case runs in its own process and starts from float32 features;
memory is the peak beyond them and the loaded libraries (Linux). The values must be equal. Seconds are CPU seconds, so
other work on the machine hardly matters; with one thread they are the time on an idle machine. `--full` adds precision
and recall of 50,000 against 50,000 with our code only. The defaults take about two minutes.

    git worktree add ../before 334bc29
    python benchmarks/metrics.py --before ../before --n 50000 --threads 2 [--repeats 3]

measures precision and recall alone, here and with the code of another checkout in turns, and prints the ratio of the
median seconds; all counts, from which values and intervals follow, must be equal.
"""

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from taildiff import metrics

Points = NDArray[np.float32]
K = 3
FULL = 50_000


@dataclass(frozen=True)
class Measured:
    """The measurement of one version of one metric."""

    metric: str
    version: str
    n: int
    dim: int
    seconds: float
    mebibytes: float
    values: list[float]


def frechet_ours(real: Points, generated: Points) -> list[float]:
    return [metrics.frechet_distance(real, generated)]


def frechet_scipy(real: Points, generated: Points) -> list[float]:
    a, b = real.astype(np.float64), generated.astype(np.float64)
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(np.asarray(scipy.linalg.sqrtm(s1 @ s2)))
    shift = a.mean(axis=0) - b.mean(axis=0)
    return [float(shift @ shift + np.trace(s1 + s2 - 2 * root))]


def recall_ours(real: Points, generated: Points) -> list[float]:
    found = metrics.neighbourhoods(real, generated, K)
    both = found.precision_recall, found.density_coverage
    return [both[0].precision, both[0].recall, both[1].density, both[1].coverage]


def recall_dense(real: Points, generated: Points) -> list[float]:
    real_radius, generated_radius = dense_radii(real), dense_radii(generated)
    distances = pairwise_distances(real, generated)
    in_real = distances < real_radius[:, None]
    in_generated = distances < generated_radius[None]
    shares = in_real.any(axis=0), in_generated.any(axis=1), in_real.sum(axis=0) / K, in_real.any(axis=1)
    return [float(share.mean()) for share in shares]


def dense_radii(points: Points) -> Points:
    distances = pairwise_distances(points)
    nearest = np.argpartition(distances, K + 1, axis=1)[:, : K + 1]  # includes the point itself
    return np.take_along_axis(distances, nearest, axis=1).max(axis=1)


CASES: dict[str, dict[str, Callable[[Points, Points], list[float]]]] = {
    "Fréchet": {"ours": frechet_ours, "scipy sqrtm": frechet_scipy},
    "precision, recall, density, coverage": {"ours": recall_ours, "dense": recall_dense},
}


def features(seed: int, n: int, dim: int, scale: float) -> Points:
    """Clustered features (n, dim), not centred at 0, with a decaying spectrum."""
    shared = np.random.default_rng(0)
    spectrum = (np.arange(1, dim + 1, dtype=np.float32)) ** np.float32(-0.5)
    centres = shared.standard_normal((10, dim), dtype=np.float32) * 2
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, dim), dtype=np.float32)
    points *= scale
    points += centres[np.arange(n) % 10]
    points *= spectrum
    return points


def peak() -> float:
    """Peak memory in MiB since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(metric: str, version: str, n: int, dim: int, repeats: int) -> Measured:
    function = CASES[metric][version]
    function(features(3, 64, 16, 1.0), features(4, 64, 16, 1.0))  # warm-up: loads libraries
    real, generated = features(1, n, dim, 1.0), features(2, n, dim, 1.1)
    forget_peak()
    before = peak()
    times, values, used = [], [0.0], 0.0
    for _ in range(repeats):
        start = time.process_time()
        values = function(real, generated)
        times.append(time.process_time() - start)
        used = max(used, peak() - before)
    return Measured(metric, version, n, dim, round(min(times), 2), round(used, 1), values)


def measure_alone(*arguments: object) -> Measured:
    """`measure` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(measure, arguments)
    print(f"{result.metric}, {result.version}, n = {result.n}: {result.seconds:.1f} s, {result.mebibytes:.0f} MiB more")
    return result


HERE = Path(__file__).resolve().parents[1]


def neighbours_of(n: int, dim: int) -> None:
    """Print seconds, memory and a hash of every count of `neighbourhoods` as JSON."""
    metrics.neighbourhoods(features(3, 64, 16, 1.0), features(4, 64, 16, 1.0), K)  # loads libraries
    real, generated = features(1, n, dim, 1.0), features(2, n, dim, 1.1)
    forget_peak()
    before, start, processed = peak(), time.perf_counter(), time.process_time()
    found = metrics.neighbourhoods(real, generated, K)
    seconds, cpu = time.perf_counter() - start, time.process_time() - processed
    counts = sha256(b"".join(np.asarray(value).tobytes() for value in vars(found).values())).hexdigest()
    values = {"precision": found.precision_recall.precision, "recall": found.precision_recall.recall}
    used = peak() - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mebibytes": used, "counts": counts, "values": values}))


def compare_checkouts(before: Path, n: int, dim: int, repeats: int) -> None:
    """Print the seconds of `neighbours_of` here and there, in turns, and their ratios."""
    found: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    for _ in range(repeats):
        for side, checkout in (("before", before.resolve()), ("now", HERE)):
            command = [sys.executable, __file__, "--neighbours", "--n", str(n), "--dim", str(dim)]
            env = os.environ | {"PYTHONPATH": str(checkout / "src")}
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
            result = json.loads(done.stdout.splitlines()[-1])
            found[side].append(result)
            times = f"{result['seconds']:.1f} s, {result['cpu']:.1f} s of CPU"
            print(f"{side}: {times}, {result['mebibytes']:.0f} MiB, {result['values']}", flush=True)
    if len({each["counts"] for side in found.values() for each in side}) > 1:
        raise SystemExit("the counts differ")
    for name in ("seconds", "cpu"):
        middle = {side: median(each[name] for each in results) for side, results in found.items()}
        print(f"before : now = {middle['before'] / middle['now']:.2f} in {name}")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="also 50,000 against 50,000, our code only")
    parser.add_argument("--out", type=Path, help="where to store the numbers as JSON")
    parser.add_argument("--before", type=Path, help="a checkout of another commit to compare precision and recall with")
    parser.add_argument("--neighbours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.neighbours:
        neighbours_of(args.n, args.dim)
        return
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(args.threads)  # for the child processes
    if args.before:
        compare_checkouts(args.before, args.n, args.dim, args.repeats)
        return

    results: list[Measured] = []
    ratios: dict[str, dict[str, float]] = {}
    for metric, versions in CASES.items():
        ours, other = (measure_alone(metric, version, args.n, args.dim, args.repeats) for version in versions)
        tolerance = 1e-8 if metric == "Fréchet" else 1e-3  # dense distances are rounded to float32
        np.testing.assert_allclose(ours.values, other.values, rtol=tolerance, atol=tolerance)
        seconds, mebibytes = other.seconds / ours.seconds, other.mebibytes / ours.mebibytes
        print(f"  {other.version} : ours = {seconds:.1f} in time, {mebibytes:.1f} in memory")
        ratios[metric] = {"time": round(seconds, 2), "memory": round(mebibytes, 2)}
        results += [ours, other]
    store(args.out, args.threads, ratios, results)
    if args.full:
        results.append(measure_alone("precision, recall, density, coverage", "ours", FULL, args.dim, 1))
        store(args.out, args.threads, ratios, results)


def store(out: Path | None, threads: int, ratios: dict[str, dict[str, float]], results: list[Measured]) -> None:
    if not out:
        return
    machine: dict[str, Any] = {"machine": platform.machine(), "processor": processor(), "threads": threads}
    libraries = {"numpy": np.__version__, "scipy": scipy.__version__}
    record = machine | libraries | {"ratio": ratios, "results": [asdict(result) for result in results]}
    out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
