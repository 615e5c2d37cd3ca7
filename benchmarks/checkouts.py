"""Training steps of two checkouts of taildiff, in turns: how much faster one is than the other.

    python benchmarks/checkouts.py /path/to/older . --recipe mnist5k-plain --rounds 30

Each checkout trains the recipe in its own process, with the Python of its .venv if it has one. A round is one real step
of each (`taildiff train` with everything that belongs to it: batch, loss, update, average, log); the ratio is the
median over rounds. CPU seconds are those of all threads, which other work on the machine hardly changes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path


class Enough(Exception):  # noqa: N818 (no error)
    """Raised inside training to end it."""


class Turns:
    """A progress callback that waits for a line of input before each step and answers with its seconds."""

    def __init__(self) -> None:
        self.start: tuple[float, float] | None = None

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Called after each step."""
        now = time.perf_counter(), time.process_time()
        if not stage.startswith("training"):
            return
        if self.start:
            print(*(after - before for before, after in zip(self.start, now, strict=True)), file=sys.stderr, flush=True)
        if not sys.stdin.readline():
            raise Enough
        self.start = time.perf_counter(), time.process_time()


def work(recipe: str, batch_size: str) -> None:
    """Train in this process until the input ends."""
    import taildiff

    with tempfile.TemporaryDirectory() as folder:
        words = [recipe, "--out", f"{folder}/run", "--steps", "1000000", "--every.save", "0"]
        words += ["--batch-size", batch_size] if batch_size else []
        if hasattr(taildiff, "train"):
            import taildiff.api.training as module

            module.reporting = lambda _: nullcontext(Turns())
        else:  # up to version 0.1.0
            import taildiff.cli.train as module

            module.progress_bar = lambda: nullcontext(Turns())
        from taildiff.cli.train import main

        try:
            main(words)
        except Enough:
            os._exit(0)


class Worker:
    """One checkout's process."""

    def __init__(self, checkout: Path, recipe: str, batch_size: int | None):
        own = checkout / ".venv" / "bin" / "python"
        words = [str(own) if own.exists() else sys.executable, __file__, "--work", recipe, str(batch_size or "")]
        path = {"PYTHONPATH": str(checkout.resolve() / "src")}
        self.process = subprocess.Popen(
            words,
            env=os.environ | path,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def step(self) -> tuple[float, float]:
        """Wall and CPU seconds of one step; the first two are not measured by the process."""
        stdin, stderr = self.process.stdin, self.process.stderr
        assert stdin
        assert stderr
        stdin.write("\n")
        stdin.flush()
        log: list[str] = []
        while line := stderr.readline():
            try:
                wall, cpu = map(float, line.split())
            except ValueError:
                log.append(line)
            else:
                return wall, cpu
        raise SystemExit(f"training ended:\n{''.join(log[-20:])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--recipe", default="mnist5k-plain")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    workers = [Worker(place, options.recipe, options.batch_size) for place in (options.before, options.after)]
    for worker in workers:
        worker.step()
    rounds = [[worker.step() for worker in workers] for _ in range(options.rounds)]
    for worker in workers:
        worker.process.communicate()
    for place, what in enumerate(("wall", "CPU")):
        before, after = ([1000 * turn[side][place] for turn in rounds] for side in (0, 1))
        ratio = statistics.median(b / a for b, a in zip(before, after, strict=True))
        print(
            f"{what}: {statistics.median(before):.1f} ms, then {statistics.median(after):.1f} ms a step: {ratio:.2f} x"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:4])
    else:
        main()
