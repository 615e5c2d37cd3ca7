"""Kill every verb at random moments, and start pairs of verbs at random offsets; all results must be undisturbed.

    python benchmarks/soak_verbs.py --kills 1000 --pairs 120 --jobs 2 --seed 0        (make soak: 60 and 22)

A tiny world (a folder of images, a store, a VAE, two trained and evaluated runs) is copied for every attempt, and each
command runs as at the command line in a process forked from one that has imported everything.

Kills: SIGKILL after a random time or, every second time, when a temporary file appears; two times in five the rerun is
killed as well. Then the same command runs to its end, and all files must equal those of an undisturbed command, byte
for byte but for times and durations, with no file more.

Pairs: the second command starts after a random part of the first one's time. Each must end by itself, without a
traceback, and one at least with success; where they do different things, both run again one after the other. Then all
files must equal those of the undisturbed commands.
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
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: threads do not survive a fork

import numpy as np
import torch
from PIL import Image

from soak import SPEC
from taildiff.cli import compare, data, demo, encode, evaluate, report, sample, train  # noqa: F401 (before the fork)
from taildiff.cli.main import main as taildiff
from taildiff.data.formats import find
from taildiff.data.prepare import prepare
from taildiff.evaluation import classifier_network
from taildiff.evaluation import evaluate as run_evaluation  # noqa: F401
from taildiff.models import codec  # noqa: F401
from taildiff.reporting import plots  # noqa: F401
from taildiff.spec import EvalSpec, IntervalSpec, SamplingSpec

LIMIT_S = 120
"""A command that takes longer hangs."""
FAST = ("--sampler", "euler", "--steps", "2")
EVALUATE = ("evaluate", "run", "--per-class", "6", "--guidance", "1,2", *FAST)
COMMANDS: dict[str, tuple[str, ...]] = {
    "data prepare": ("data", "prepare", "folder", "photos", "--out", "made", "--size", "8"),
    "data encode": ("data", "encode", "store", "--vae", "vae", "--out", "latents", "--batch-size", "4"),
    "train": ("train", "spec.json", "--data", "store", "--out", "new"),
    "sample": ("sample", "run", "--out", "images", "--per-class", "3", "--guidance", "1.5", *FAST),
    "sample npz": ("sample", "run", "--out", "a.npz", "--format", "npz", "--guidance", "1.5", *FAST),
    "evaluate RUN": EVALUATE,
    "evaluate FOLDER": ("evaluate", "photos", "--data", "store", "--out", "judged"),
    "compare": ("compare", "one", "two", "--out", "table.csv"),
    "report": ("report", "one", "two", "--out", "page.html"),
    "demo": ("demo", "--out", "demo"),
}
OTHERS: dict[str, tuple[str, ...]] = {
    "evaluate RUN, other guidance": (*EVALUATE[:4], "--guidance", "2", *FAST),
    "evaluate another run": ("evaluate", "two", *EVALUATE[2:]),
    "evaluate the new run": ("evaluate", "new", *EVALUATE[2:]),
    "report on the run": ("report", "run"),
    "report on the new run": ("report", "new"),
    "train on it": ("train", "spec.json", "--data", "made", "--out", "new"),
    "sample the new run": ("sample", "new", *COMMANDS["sample"][2:]),
}
PAIRS = [
    *((name, name) for name in COMMANDS),
    ("evaluate RUN", "evaluate RUN, other guidance"),
    ("evaluate RUN", "evaluate another run"),
    ("evaluate RUN", "report on the run"),
    ("evaluate RUN", "evaluate FOLDER"),
    ("train", "evaluate the new run"),
    ("train", "report on the new run"),
    ("train", "sample the new run"),
    ("data prepare", "train on it"),
    ("sample", "evaluate RUN"),
    ("evaluate another run", "compare"),
    ("evaluate another run", "report"),
    ("demo", "data prepare"),
]
MAY_REFUSE = ("train", "sample", "demo", "evaluate the new run", "report on the new run")
"""These exit with 2 where another process trains the run, the output exists, or there is no run yet."""
Files = dict[str, bytes | None]


def tiny(name: str, _: bool) -> object:
    return SPEC.model_copy(update={"recipe": name, "steps": 4})


def shrink() -> None:
    """Make what is slow for real images tiny: the classifier of evaluations; the demo's data, runs and evaluation."""
    classifier_network._STEPS = (3, 3)
    demo.embedded_digits = lambda root: prepare(find("folder", Path("photos")), root / "mnist5k", 8)
    demo.planned, demo.introduce = tiny, lambda _: None
    sampling = SamplingSpec(sampler="euler", steps=2)
    demo.evaluation = lambda _: EvalSpec(guidance=(1.0,), per_class=4, sampling=sampling)


def build(world: Path) -> None:
    """The files that the commands start from."""
    rng = np.random.default_rng(0)
    for label, count in enumerate((9, 6, 4)):
        folder = world / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    every = IntervalSpec(log=2, samples=4, save=2, keep=2)
    spec = SPEC.model_copy(update={"steps": 12, "every": every})
    (world / "spec.json").write_text(spec.model_dump_json())
    save_vae(world / "vae")
    (world / "one.json").write_text(spec.model_copy(update={"steps": 4}).model_dump_json())
    log = world.with_name("build.txt")
    for command in (
        ("data", "prepare", "folder", "photos", "--out", "store", "--size", "8"),
        *(("train", "one.json", "--data", "store", "--out", run) for run in ("run", "one", "two")),
        *(("evaluate", run, "--per-class", "6", "--guidance", "1", *FAST) for run in ("one", "two")),
    ):
        if wait(start(command, world, log), LIMIT_S):
            raise SystemExit(f"{' '.join(command)} failed: {log.read_text()[-2000:]}")
    shutil.rmtree(world / "store" / "cache")  # of the first evaluation


def save_vae(folder: Path) -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(**blocks, block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4).save_pretrained(folder)


def start(command: tuple[str, ...], place: Path, log: Path) -> int:
    """Fork a command that works in `place` and appends its output to `log`; returns the process id."""
    process = os.fork()
    if process:
        with suppress(OSError):  # it did so itself, or has ended
            os.setpgid(process, process)  # includes its child processes (git)
        return process
    code = 1
    try:
        os.chdir(place)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = taildiff(list(command))
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(process: int, seconds: float) -> int | None:
    """The exit code, or None if the process still runs after so long."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def kill(process: int) -> None:
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)


def temporary(place: Path) -> list[str]:
    """Temporary files and locks anywhere below."""
    found: list[str] = []
    for root, folders, files in os.walk(place):
        found += [f"{root}/{name}" for name in (*folders, *files) if name.startswith(".") and name != ".cache"]
    return found


def content(place: Path) -> Files:
    """Every file by its path, without what a repetition changes: times, durations and what has a hash over them."""
    result: Files = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_dir():
            continue
        timed = path.name in ("run.json", "state.json", "report.html") or path.name == "page.html"
        result[name] = None if timed else path.read_bytes()
        if path.suffix == ".safetensors":  # the order of its metadata changes
            size = int.from_bytes(path.read_bytes()[:8], "little") + 8
            header = json.loads(path.read_bytes()[8:size])
            result[name] = json.dumps(header, sort_keys=True).encode() + path.read_bytes()[size:]
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [{key: value for key, value in line.items() if key not in ("seconds", "crc")} for line in lines]
            result[name] = json.dumps(kept).encode()
    return result


@dataclass
class Tally:
    """What happened, by verb or pair."""

    counts: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    faults: list[str] = field(default_factory=list)


class Campaign:
    """Attempts in one folder, so that paths are equal in all of them."""

    def __init__(self, folder: Path, seed: int):
        self.place, self.world, self.log = folder / "work", folder / "world", folder / "log.txt"
        build(self.place)
        self.place.rename(self.world)  # runs name the place of their store, so all attempts are made there
        self.rng, self.kills, self.pairs = random.Random(seed), Tally(), Tally()
        self.seconds: dict[str, float] = {}
        self._expected: dict[tuple[str, ...], Files] = {}

    def fresh(self) -> None:
        """Begin with a new copy of the world."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.world, self.place)
        self.log.write_bytes(b"")

    def run(self, name: str) -> int | None:
        """The exit code of an undisturbed command; None if it hangs."""
        return wait(start({**COMMANDS, **OTHERS}[name], self.place, self.log), LIMIT_S)

    def expected(self, *commands: str) -> Files:
        """The files after undisturbed commands."""
        if commands not in self._expected:
            self.fresh()
            for name in commands:
                begun = time.monotonic()
                if code := self.run(name):
                    raise SystemExit(f"undisturbed {name} exits with {code}: {self.log.read_text()[-2000:]}")
                self.seconds[name] = time.monotonic() - begun
            self._expected[commands] = content(self.place)
        return self._expected[commands]

    def differences(self, expected: Files, more: bool = False) -> list[str]:
        """Names of files that are missing, different or, unless `more` are allowed, too many; temporary ones always."""
        got = content(self.place)
        wrong = [name for name, value in expected.items() if got.get(name, b"missing") != value]
        return wrong + temporary(self.place) + ([] if more else sorted(got.keys() - expected.keys()))

    def wait_and_kill(self, name: str, process: int) -> bool:
        """Kill after a random time or at a temporary file; False if the command ended first."""
        at_files, until = self.rng.random() < 0.5, time.monotonic() + self.rng.uniform(0, self.seconds[name])
        while time.monotonic() < until or (at_files and not temporary(self.place)):
            if wait(process, 0) is not None:
                return False
        if wait(process, self.rng.uniform(0, 0.004) if at_files else 0) is not None:
            return False
        kill(process)
        return True

    def killed(self, name: str) -> None:
        """One command, killed at least once, then run to its end."""
        expected = self.expected(name)
        self.fresh()
        count, counts = 0, self.kills.counts[name]
        while self.wait_and_kill(name, start(COMMANDS[name], self.place, self.log)):
            count += 1
            counts["half-written"] += bool(temporary(self.place))
            if self.rng.random() > 0.4:
                break
        counts["kills"] += count
        code = self.run(name)
        refused = code == 2 and name.startswith("sample")  # the killed command had finished
        wrong = self.differences(expected)
        if wrong or not (code == 0 or refused):
            self.fault(self.kills, f"{name}, killed {count} times: then exit code {code}", wrong)
        else:
            counts["equal"] += 1
        counts["attempts"] += 1

    def together(self, first: str, second: str) -> None:
        """Two commands, the second started while the first one runs."""
        same = first == second
        expected = self.expected(first) if same else self.expected(first, second)
        self.fresh()
        processes = [start({**COMMANDS, **OTHERS}[first], self.place, self.log)]
        time.sleep(self.rng.uniform(0, self.seconds[first]))
        processes.append(start({**COMMANDS, **OTHERS}[second], self.place, self.log))
        codes = [wait(process, LIMIT_S) for process in processes]
        text, counts = self.log.read_text(), self.pairs.counts[first if same else f"{first} + {second}"]
        allowed = all(
            code == 0 or (code == 2 and name.startswith(MAY_REFUSE))
            for code, name in zip(codes, (first, second), strict=True)
        )
        if not same:
            if second == "sample the new run":  # of the weights that there were
                for left in self.place.glob("images*"):
                    shutil.rmtree(left)
            allowed &= all(self.run(name) == 0 or name.startswith("sample") for name in (first, second))
        wrong = self.differences(expected, more="new run" in second)
        counts["pairs"] += 1
        counts["waited"] += "waiting for" in text
        counts["refused"] += 2 in codes
        if wrong or not allowed or 0 not in codes or "Traceback" in text:
            self.fault(self.pairs, f"{first} + {second}: exit codes {codes}", wrong)
        else:
            counts["equal"] += 1

    def fault(self, tally: Tally, what: str, wrong: list[str]) -> None:
        """Report and count a difference."""
        tally.faults.append(f"{what}; different or too many: {wrong[:8]}\n{self.log.read_text()[-1500:]}")
        print(tally.faults[-1], file=sys.stderr)


def worker(folder: Path, kills: int, pairs: int, seed: int) -> None:
    """One process of the campaign; leaves result.json."""
    folder.mkdir()
    campaign, all_pairs = Campaign(folder, seed), list(PAIRS)
    campaign.rng.shuffle(all_pairs)
    for number in range(pairs):
        campaign.together(*all_pairs[number % len(all_pairs)])
    while (done := sum(counts["kills"] for counts in campaign.kills.counts.values())) < kills:
        campaign.killed(min(COMMANDS, key=lambda name: (campaign.kills.counts[name]["kills"], name)))
        print(f"\r{done}/{kills} kills", end="", file=sys.stderr)
    tallies = [campaign.kills, campaign.pairs]
    (folder / "result.json").write_text(json.dumps([vars(tally) for tally in tallies]))


def table(tallies: list[dict], title: str, columns: tuple[str, ...]) -> int:
    """Print a Markdown table over all workers; returns the number of faults."""
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    rows = sorted({name for tally in tallies for name in tally["counts"]})
    sums = {name: [sum(t["counts"].get(name, {}).get(c, 0) for t in tallies) for c in columns] for name in rows}
    for name, values in [*sums.items(), ("all", [sum(column) for column in zip(*sums.values(), strict=True)])]:
        print(f"| {name} | {' | '.join(map(str, values))} |")
    return sum(len(tally["faults"]) for tally in tallies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 1000), ("pairs", 120), ("jobs", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    begun, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="taildiff-soak-verbs-"))
    torch.set_num_threads(1)
    shrink()
    processes: list[int] = []
    for job in range(options.jobs):
        if not (process := os.fork()):
            try:
                kills, pairs = (-(-total // options.jobs) for total in (options.kills, options.pairs))
                worker(folder / str(job), kills, pairs, options.seed + job)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        processes.append(process)
    for process in processes:
        os.waitpid(process, 0)
    results = [json.loads((folder / str(job) / "result.json").read_text()) for job in range(options.jobs)]
    faults = table([kills for kills, _ in results], "verb", ("kills", "half-written", "attempts", "equal"))
    faults += table([pairs for _, pairs in results], "together", ("pairs", "waited", "refused", "equal"))
    print(f"\nfaults: {faults}; seconds: {time.monotonic() - begun:.0f}")
    if faults:
        raise SystemExit(f"see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
