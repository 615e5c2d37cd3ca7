"""Seconds from the start of `taildiff train mnist5k-plain` to its first step, and to the end of the command.

    python benchmarks/first_step.py --rounds 5

Each round is a new process that takes one step and saves it. The digits are prepared in a round that is not counted, so
that the cache is warm. Medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

FOLDER = os.environ.get("FIRST_STEP_FOLDER", "")


def one() -> None:
    """In the new process: train, and print when the first step starts."""
    from taildiff.cli.main import main
    from taildiff.training import loop

    advance = loop.advance

    def timed(*args: object, **named: object) -> object:
        print(f"first step at {time.time()}", file=sys.stderr)
        return advance(*args, **named)  # pyright: ignore[reportArgumentType]

    loop.advance = timed  # pyright: ignore[reportAttributeAccessIssue]
    sys.exit(main(["train", "mnist5k-plain", "--out", f"{FOLDER}/run-{os.getpid()}", "--stop-at", "1"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds + 1):
            start = time.time()
            environment = os.environ | {"FIRST_STEP_FOLDER": folder}
            done = subprocess.run(
                [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
            )
            (line,) = (line for line in done.stderr.splitlines() if line.startswith("first step at "))
            found.append((float(line.split()[-1]) - start, time.time() - start))
    first, whole = (statistics.median(part) for part in zip(*found[1:], strict=True))
    print(f"first step starts after {first:.1f} s, the command ends after {whole:.1f} s ({rounds} rounds)")


if __name__ == "__main__":
    one() if FOLDER else main()
