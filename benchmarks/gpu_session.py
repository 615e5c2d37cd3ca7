"""All GPU measurements in one command of a few minutes; what is most valuable comes first.

    python benchmarks/gpu_session.py --cut data/cifar10 cut            # once, anywhere: the long-tailed cut of a store
    python benchmarks/gpu_session.py --minutes 8 --data cut --out gpu
    python benchmarks/gpu_session.py --small --out tried               # try the script on any machine

    tests     20 %   tests marked `gpu`: losses, samplers, networks against the CPU, bf16, compiled gradients, resuming
    steps     45 %   steps-*.json: step time and memory of the 35.7 M U-Net at batch 128, beside a published CCUA loop
                     and a bare diffusers loop, in float32, TF32, bf16, compiled, with CUDA graphs (baseline.py)
    latents   15 %   throughput.json and .md: SiT-S/2, B/2 and XL/2 on latents, share of the matrix-product ceiling
    train     rest   CIFAR-10-LT plain and with shared null rows, trained, evaluated: a study in OUT/study

Each command ends at the end of its part's share, and what was measured until then is in OUT; log.txt holds all output.
Time that a part leaves is the next one's. A failure does not stop the others; exit code 1 means that a command failed.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from taildiff.data.longtail import Split
from taildiff.data.store import Store, StoreWriter
from taildiff.spec import DataSpec

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"tests": 0.2, "steps": 0.45, "latents": 0.15, "train": 0.2}
PER_CLASS = 200
"""Test images of the cut."""
STUDY = """\
title = "CIFAR-10-LT on a GPU"
[seeds]
training = [0]
[[datasets]]
name = "cut"
recipe = "{recipe}"
{data}
changes = {changes}
[[methods]]
name = "plain"
[[methods]]
name = "ccua-shared"
[budget]
{budget}
equal = ["time"]
[evaluation]
guidance = [1.5]
per_class = {per_class}
metrics = ["accuracy", "frechet", "recall"]
[evaluation.sampling]
sampler = "{sampler}"
steps = {steps}
"""


@dataclass
class Session:
    """Runs commands within a total time; keeps their output and the names of those that failed."""

    out: Path
    minutes: float
    small: bool
    data: Path | None
    failed: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)
    until: float = 0.0
    """The end of the current part, in seconds from the start."""

    @property
    def left(self) -> float:
        """Seconds until the current part ends."""
        return self.until - (time.monotonic() - self.start)

    def run(self, *command: object, share: float = 1.0) -> bool:
        """Run `command` for at most that share of the part's time; whether it succeeded."""
        words = [sys.executable, *map(str, command)]
        line, start, limit = shlex.join(words[1:]), time.monotonic(), share * self.left
        if limit < 5:
            print(f"- no time left for: python {line}", flush=True)
            return False
        print(f"$ python {line}", flush=True)
        with (self.out / "log.txt").open("a") as log:
            log.write(f"\n$ python {line}\n")
            log.flush()
            paths = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
            given = os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
            try:
                result = subprocess.run(words, stdout=log, stderr=log, timeout=limit, check=False, env=given, cwd=ROOT)
                ended = "done" if result.returncode == 0 else f"failed with exit code {result.returncode}"
            except subprocess.TimeoutExpired:
                ended = f"not finished within {limit:.0f} s"
            log.write(f"-- {ended}\n")
        print(f"  {ended} after {time.monotonic() - start:.0f} s", flush=True)
        if ended != "done":
            self.failed.append(line)
        return ended == "done"


def tests(session: Session) -> None:
    """The tests marked `gpu`, which compare with the CPU."""
    session.run("-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/gpu")


def steps(session: Session) -> None:
    """Each set of sides in its own process, so that what was measured is written before the next one starts."""
    ours = ["plain", "ccua", "ccua-cheap", "ccua-shared"]
    few, fast = ["plain", "ccua-shared"], "bf16 compile channels-last"
    sets = [
        ("float32", 0.3, ["published ccua", "published plain", "diffusers", *ours], ["float32", "tf32"]),
        ("bf16", 0.25, ours, ["bf16", "bf16 channels-last"]),
        ("compiled", 0.55, few, [fast]),
        ("graphs", 1.0, few, [f"{fast} graphs"]),
    ]
    size = ["--network", "mnist5k", "--batch-size", 4, "--rounds", 1] if session.small else ["--batch-size", 128]
    for name, share, sides, modes in sets[:1] if session.small else sets:
        chosen = ["--sides", *sides, "--modes", *(modes[:1] if session.small else modes)]
        times = ["--rounds", 20, "--seconds", round(0.7 * share * session.left), "--ceiling"]
        out = session.out / f"steps-{name}.json"
        script = ROOT / "benchmarks" / "baseline.py"
        session.run(script, *chosen, *([] if session.small else times), *size, "--out", out, share=share)


def latents(session: Session) -> None:
    """Transformers on latents."""
    models = ["tiny/2:4"] if session.small else ["S/2", "B/2", "XL/2"]
    chosen = ["--models", *models, "--methods", "plain", "CCUA, shared", "--modes", "bf16 compile"]
    chosen = ["--models", *models, "--modes", "float32"] if session.small else chosen
    timing = ["--seconds", 1, "--warmup", 2, "--window", 2] if session.small else ["--seconds", 6]
    out = session.out / "throughput.json"
    budget = ["--budget", max(1, round(session.left - 5))]
    session.run(ROOT / "benchmarks" / "throughput.py", *chosen, *timing, *budget, "--out", out)


def train(session: Session) -> None:
    """A study of two methods, for what is left: half of it trains, the rest samples and evaluates."""
    if session.data is None and not session.small:
        print("- no --data: nothing is trained")
        return
    seconds = max(2, round(session.left / 4))
    text = STUDY.format(
        recipe="mnist5k-plain" if session.small else "cifar10lt-plain",
        data=f'data = "{session.data.resolve()}"' if session.data else "",
        changes="{ batch_size = 4 }" if session.small else '{ "data.tail" = "natural", precision = "auto" }',
        budget="steps = 2" if session.small else f"seconds = {seconds}",
        per_class=4 if session.small else PER_CLASS,
        sampler="heun" if session.small else "ddim",
        steps=2 if session.small else 20,
    )
    (session.out / "study.toml").write_text(text)
    session.run("-m", "taildiff", "study", "run", session.out / "study.toml")


def cut(source: Path, out: Path) -> None:
    """Write the exponential cut (ratio 0.01) of a store, with `PER_CLASS` test images of each class."""
    store = Store.open(source)
    kept = Split.cut(store, DataSpec(tail="exp", ratio=0.01)).index
    tested = [store.test_index[store.labels[store.test_index] == k][:PER_CLASS] for k in range(store.facts.classes)]
    with StoreWriter(out, store.meta.name, store.meta.class_names, store.meta.shape[1:], store.meta.source) as writer:
        for rows, test in ((kept, False), (np.concatenate(tested), True)):
            writer.append(store.images[rows], store.labels[rows], np.full(len(rows), test))
        print(f"{len(writer.close().labels)} images in {out}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for tables and logs")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--data", type=Path, help="store of CIFAR-10-LT, for `train`: see --cut")
    parser.add_argument("--small", action="store_true", help="tiny settings, to try the script itself")
    parser.add_argument("--cut", type=Path, nargs=2, metavar=("STORE", "OUT"), help="only write the cut of a store")
    options = parser.parse_args()
    if options.cut:
        cut(*options.cut)
        return 0
    if options.out is None:
        parser.error("give a folder for the results: --out gpu")
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    session = Session(out, options.minutes, options.small, options.data)
    whole = sum(SHARES[part] for part in options.parts)
    for part in options.parts:
        session.until += 60 * options.minutes * SHARES[part] / whole
        print(f"== {part}: until {session.until:.0f} s", flush=True)
        {"tests": tests, "steps": steps, "latents": latents, "train": train}[part](session)
    print("\n".join(["failed:", *session.failed]) if session.failed else "all commands succeeded")
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
