"""All GPU benchmarks in one command; tables and logs go into one folder.

    python benchmarks/gpu_session.py --data data/cifar10 --out gpu                  # a store of `taildiff data prepare`
    python benchmarks/gpu_session.py --parts throughput cost --out gpu              # some parts, into the same folder
    python benchmarks/gpu_session.py --small --data STORE --out tried               # try the script on any machine

    throughput   throughput.json and .md: SiT-S/2 and B/2 in latents, plain and CCUA, float32 to bf16 compiled
    cost         step_cost-*.json: each method's step over plain's, on the U-Net and on the transformer for CIFAR-10
    train        CIFAR-10-LT for some minutes, plain and CCUA, evaluated: compare.md, report.html, metrics-*.jsonl

Each command has its own time limit (the defaults take half an hour in total), and log.txt holds all output; a failure
does not stop the others. If compiled bf16 training fails, it is repeated in plain float32. Exit code 1 means that a
command failed.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("throughput", "cost", "train")
METHODS = ("plain", "ccua")


@dataclass
class Session:
    """Runs commands; keeps their output and the names of those that failed."""

    out: Path
    failed: list[str]

    def run(self, limit: float, *command: object) -> bool:
        """Run `command`; whether it succeeded within `limit` seconds."""
        words = [sys.executable, *map(str, command)]
        line, start = shlex.join(words[1:]), time.monotonic()
        print(f"$ python {line}", flush=True)
        with (self.out / "log.txt").open("a") as log:
            log.write(f"\n$ python {line}\n")
            log.flush()
            paths = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
            try:
                result = subprocess.run(
                    words,
                    stdout=log,
                    stderr=log,
                    timeout=limit,
                    check=False,
                    env=os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
                )
                ended = "done" if result.returncode == 0 else f"failed with exit code {result.returncode}"
            except subprocess.TimeoutExpired:
                ended = f"not finished within {limit:.0f} s"
            log.write(f"-- {ended}\n")
        print(f"  {ended} after {time.monotonic() - start:.0f} s", flush=True)
        if ended != "done":
            self.failed.append(line)
        return ended == "done"


def throughput(session: Session, options: argparse.Namespace) -> None:
    seconds = options.throughput_seconds
    chosen = ["--models", "tiny/2:4", "--seconds", 1, "--warmup", 2, "--window", 2] if options.small else []
    out = session.out / "throughput.json"
    session.run(seconds + 120, ROOT / "benchmarks" / "throughput.py", "--budget", seconds, "--out", out, *chosen)
    table = out.with_suffix(".md")
    print(table.read_text() if table.exists() else "no table", flush=True)


def cost(session: Session, options: argparse.Namespace) -> None:
    recipes = ["mnist5k-plain"] if options.small else ["cifar10lt-plain", "cifar10lt-sit-ccua"]
    for recipe in recipes:
        out = session.out / f"step_cost-{recipe}.json"
        chosen = ["--batch-size", 8, "--rounds", 2] if options.small else ["--rounds", 10]
        session.run(150, ROOT / "benchmarks" / "step_cost.py", "--recipe", recipe, "--out", out, *chosen)


def training(session: Session, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = {method: Path(folder, method) for method in METHODS}
        evaluated = [run for method, run in runs.items() if trained(session, options, method, run)]
        if evaluated:
            compare = session.out / "compare.md"
            session.run(60, "-m", "taildiff", "compare", *evaluated, "--out", compare)
            session.run(120, "-m", "taildiff", "report", *evaluated, "--out", session.out / "report.html")
            print(compare.read_text() if compare.exists() else "no comparison", flush=True)


def trained(session: Session, options: argparse.Namespace, method: str, run: Path) -> bool:
    """Train and evaluate one method; whether both succeeded."""
    seconds = options.train_seconds
    command = ["-m", "taildiff", "train", options.recipe, "--data", options.data, "--out", run, "--method", method]
    command += ["--max-time", f"{seconds:.0f}s", "--every.save", 0, *(["--batch-size", 8] if options.small else [])]
    fast = ["--precision", "bf16-mixed", "--compile"]
    if not session.run(seconds + 120, *command, *fast):
        shutil.rmtree(run, ignore_errors=True)
        if not session.run(seconds + 120, *command):
            return False
    shutil.copy(run / "metrics.jsonl", session.out / f"metrics-{method}.jsonl")
    sampling = ["--guidance", 1, "--per-class", 4, "--steps", 2] if options.small else ["--guidance", "1,1.5"]
    return session.run(options.evaluate_seconds, "-m", "taildiff", "evaluate", run, *sampling)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and logs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, help="store of CIFAR-10, for `train`")
    parser.add_argument("--recipe", default="cifar10lt-sit-ccua", help="recipe of `train`, for both methods")
    parser.add_argument("--throughput-seconds", type=float, default=540)
    parser.add_argument("--train-seconds", type=float, default=240, help="per method")
    parser.add_argument("--evaluate-seconds", type=float, default=180, help="limit per method")
    parser.add_argument("--small", action="store_true", help="tiny settings, to try the script itself")
    options = parser.parse_args()
    if "train" in options.parts and options.data is None:
        parser.error("train needs --data STORE (taildiff data prepare cifar10 …), or leave it out of --parts")
    options.out.mkdir(parents=True, exist_ok=True)
    session = Session(options.out, [])
    for part in options.parts:
        {"throughput": throughput, "cost": cost, "train": training}[part](session, options)
    print("\n".join(["failed:", *session.failed]) if session.failed else "all commands succeeded")
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
