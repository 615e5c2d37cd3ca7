"""Speed and memory of preparing a folder of small images, and the cost of a kill.

    python benchmarks/prepare.py [--images 60000] [--format png|jpg] [--folder /tmp]

Writes that many 32 × 32 colour images in 100 class folders, prepares them with the command line in new processes, and
removes everything. Peak memory is the resident set of the preparing process, as counted by the kernel.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from taildiff.io.resumable_array import read_shards
from taildiff.io.staging import lasting_partial

CLASSES = 100


@dataclass(frozen=True)
class Timed:
    """One call of `taildiff data prepare`."""

    seconds: float
    cpu: float
    """CPU seconds of all cores together, which other work on the machine does not change."""
    peak_mb: float
    code: int


def make_images(root: Path, count: int, suffix: str) -> None:
    """Write smooth random pictures, which compress like photographs."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"class{label:03d}").mkdir(parents=True)
    for k in range(count):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((32, 32)).save(root / f"class{k % CLASSES:03d}" / f"{k:07d}.{suffix}")


def prepare(source: Path, out: Path, kill_at: int | None = None) -> Timed:
    """Run the command; with `kill_at`, SIGKILL it once that many images are in committed shards."""
    words = [sys.executable, "-m", "taildiff", "data", "prepare", "folder", str(source), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kill_at is not None:
        while process.poll() is None and _committed(lasting_partial(out)) < kill_at:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Timed(seconds, cpu, usage.ru_maxrss / 1024, process.returncode)


def _committed(folder: Path) -> int:
    return sum(shard.rows for shard in read_shards(folder)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="taildiff-prepare-", dir=options.folder))
    try:
        source, n = root / "images", options.images
        make_images(source, n, options.format)
        first = prepare(source, root / "store")
        second = prepare(source, root / "store")
        killed = prepare(source, root / "again", kill_at=n // 2)
        resumed = prepare(source, root / "again")
        same = all(
            (root / "again" / name).read_bytes() == (root / "store" / name).read_bytes()
            for name in ("images.npy", "labels.npy", "names.txt", "store.json")
        )
        print(
            f"{n:,} {options.format} files of 32 x 32, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
        )
        for name, timed in (("first call", first), ("second call", second), ("killed", killed), ("went on", resumed)):
            print(f"{name:12}  {timed.seconds:6.1f} s  CPU {timed.cpu:6.1f} s  peak {timed.peak_mb:5,.0f} MB")
        print(f"{n / first.seconds:,.0f} images/s; after the kill, the same store: {'yes' if same else 'NO'}")
        assert killed.code == -signal.SIGKILL
        assert first.code == second.code == resumed.code == 0
        assert same
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
