"""Kill every verb at random moments, and start pairs of verbs at random offsets; all results must be undisturbed.

    python benchmarks/soak_verbs.py --kills 1000 --pairs 120 --jobs 2 --seed 0        (make soak: 60 and 22)
    python benchmarks/soak_verbs.py --kills 40 --pairs 0 --verbs "fill RUN" "fill FOLDER"

A tiny world (a folder of images, a store, a VAE, trained and evaluated runs) is copied for every attempt, and each
command runs as at the command line in a process forked from one that has imported everything.

Kills: SIGKILL after a random part of the command's CPU time or, every second time, of its file operations. The rerun is
killed as well with probability 0.6, and so on; the last one runs to its end. Then all files must equal those of an
undisturbed command, byte for byte but for times and durations, with no file more and no temporary file or lock left.

Pairs: the second command starts after a random part of the first one's CPU time. Each must end by itself, without a
traceback, and one at least with success; where they do different things, both run again one after the other. Then all
files must equal those of the undisturbed commands.

`--json FILE` is written every few seconds; an interrupted campaign prints the figures that it has.
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
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: threads do not survive a fork

import torch
from killing import Work, content, half_written, left_over
from soak_world import COMMANDS, MAY_REFUSE, NEW, PAIRS, build, shrink, start

from taildiff.io.atomic import write_json

AGAIN = 0.6
"""Probability that a rerun is killed as well."""
COLUMNS = {
    "kills": ("kills", "half-written", "ended first", "chains", "differences", "leftovers"),
    "pairs": ("pairs", "waited", "refused", "differences", "leftovers"),
}
Files = dict[str, bytes]


class Campaign:
    """Attempts in one folder, so that paths are equal in all of them; one line of JSON about each."""

    def __init__(self, folder: Path, seed: int, results: TextIO):
        self.place, self.world, self.log = folder / "work", folder / "world", folder / "log.txt"
        build(self.place, self.log)
        self.place.rename(self.world)  # runs name the place of their store, so all attempts are made there
        self.rng, self.results = random.Random(seed), results
        self.whole: dict[str, Work] = {}
        """Undisturbed commands, which have ended."""
        self._expected: dict[tuple[str, ...], Files] = {}

    def fresh(self) -> None:
        """Begin with a new copy of the world."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.world, self.place)
        self.log.write_bytes(b"")

    def start(self, name: str) -> Work:
        """Start a command."""
        return start(name, self.place, self.log)

    def expected(self, *commands: str) -> Files:
        """The files after undisturbed commands."""
        if commands not in self._expected:
            self.fresh()
            for name in commands:
                work = self.whole[name] = self.start(name)
                if code := work.wait():
                    raise SystemExit(f"undisturbed {name} exits with {code}: {self.log.read_text()[-2000:]}")
            self._expected[commands] = content(self.place)
        return self._expected[commands]

    def killed(self, name: str) -> int:
        """One command, killed until chance or its end stops that, then run to its end; the number of kills."""
        expected, counts = self.expected(name), Counter(chains=1)
        whole = self.whole[name]
        self.fresh()
        while (work := self.start(name)).kill_at_random(self.rng, whole.cpu_seconds(), whole.operations()):
            counts["kills"] += 1
            counts["half-written"] += half_written(self.place)
            if self.rng.random() > AGAIN:
                work = self.start(name)
                break
        else:
            counts["ended first"] += 1
        code = work.wait()
        finished = code == 2 and counts["kills"] > 0 and name.startswith(NEW)  # the killed command had finished
        how = f"killed {counts['kills']} times: exit code {code}"
        self.note("kills", name, counts, expected, code == 0 or finished, how)
        return counts["kills"]

    def together(self, first: str, second: str) -> None:
        """Two commands, the second started while the first one runs."""
        same = first == second
        expected = self.expected(first) if same else self.expected(first, second)
        self.fresh()
        seconds, one = self.rng.random() * self.whole[first].cpu_seconds(), self.start(first)
        one.until(lambda: one.cpu_seconds() >= seconds)
        two = self.start(second)
        codes = [one.wait(), two.wait()]
        text = self.log.read_text()
        counts = Counter({"pairs": 1, "waited": int("waiting for" in text), "refused": int(2 in codes)})
        allowed = 0 in codes and "Traceback" not in text
        allowed &= all(
            code == 0 or (code == 2 and name.startswith(MAY_REFUSE))
            for code, name in zip(codes, (first, second), strict=True)
        )
        if not same:
            if second == "sample the new run":  # of the weights that there were
                for left in self.place.glob("images*"):
                    shutil.rmtree(left)
            allowed &= all(self.start(name).wait() == 0 or name.startswith(NEW) for name in (first, second))
        name = first if same else f"{first} + {second}"
        self.note("pairs", name, counts, expected, allowed, f"exit codes {codes}", more="new run" in second)

    def note(
        self, part: str, name: str, counts: Counter, expected: Files, allowed: bool, how: str, more: bool = False
    ) -> None:
        """Compare the files with the expected ones (`more` are allowed), and write what happened as a line of JSON."""
        got, left = content(self.place), left_over(self.place)
        wrong = [file for file, value in expected.items() if got.get(file) != value]
        left += [] if more else sorted(got.keys() - expected.keys())
        counts["differences"] += bool(wrong) or not allowed
        counts["leftovers"] += bool(left)
        line: dict[str, object] = {"part": part, "name": name, "counts": counts}
        if wrong or left or not allowed:
            kept = self.place.with_name(f"fault-{time.time_ns()}")
            shutil.copytree(self.place, kept, symlinks=True)
            what = f"{name}, {how}; different: {wrong[:8]}, too many: {left[:8]}; see {kept}"
            line["fault"] = f"{what}\n{self.log.read_text()[-1500:]}"
        self.results.write(json.dumps(line) + "\n")
        self.results.flush()


def worker(folder: Path, kills: int, pairs: int, seed: int, verbs: Sequence[str]) -> None:
    """One process of the campaign; leaves results.jsonl."""
    folder.mkdir()
    os.environ["TAILDIFF_CACHE"] = str(folder / "cache")
    with (folder / "results.jsonl").open("w") as results:
        campaign, all_pairs, done = Campaign(folder, seed, results), list(PAIRS), Counter(dict.fromkeys(verbs, 0))
        campaign.rng.shuffle(all_pairs)
        for number in range(pairs):
            campaign.together(*all_pairs[number % len(all_pairs)])
        while done.total() < kills:
            name = min(done, key=done.__getitem__)
            done[name] += campaign.killed(name)


def forked(*args: Any) -> int:
    """Fork a worker; its process id."""
    if process := os.fork():
        return process
    code = 1
    try:
        worker(*args)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def figures(folder: Path) -> dict[str, Any]:
    """What all workers have written so far: counts by verb and by pair, and the faults."""
    counts: dict[str, dict[str, Counter]] = {part: defaultdict(Counter) for part in COLUMNS}
    faults: list[str] = []
    for file in sorted(folder.glob("*/results.jsonl")):
        for line in file.read_text().split("\n")[:-1]:  # the last one may be half-written
            values = json.loads(line)
            counts[values["part"]][values["name"]].update(values["counts"])
            faults += [values["fault"]] if "fault" in values else []
    return {**counts, "faults": faults}


def table(counts: dict[str, Counter], part: str) -> None:
    """Print a Markdown table."""
    columns = COLUMNS[part]
    print(f"\n| {'verb' if part == 'kills' else 'together'} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, values in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        print(f"| {name} | {' | '.join(str(values[column]) for column in columns)} |")


def campaign(folder: Path, options: argparse.Namespace) -> bool:
    """Start the workers and follow their figures; whether all of them ended by themselves."""
    kills, pairs = (-(-total // options.jobs) for total in (options.kills, options.pairs))
    workers = [
        forked(folder / str(job), kills, pairs, options.seed + job, options.verbs) for job in range(options.jobs)
    ]
    complete = True
    try:
        while workers:
            time.sleep(2)
            for process in list(workers):
                done, status = os.waitpid(process, os.WNOHANG)
                if done:
                    workers.remove(process)
                    complete &= not status
            if options.json:
                write_json(options.json, figures(folder))
    except KeyboardInterrupt:
        for process in workers:
            os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)
        complete = False
    return complete


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 1000), ("pairs", 120), ("jobs", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--verbs", nargs="*", choices=COMMANDS, default=[*COMMANDS], help="kill only these")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    begun, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="taildiff-soak-verbs-"))
    torch.set_num_threads(1)
    shrink()
    complete = campaign(folder, options)
    results = figures(folder)
    for part in COLUMNS:
        table(results[part], part)
    faults, used = results["faults"], sum(os.times()[:4])
    print(*faults, sep="\n", file=sys.stderr)
    print(f"\nfaults: {len(faults)}; {time.monotonic() - begun:.0f} s, {used:.0f} s of CPU time")
    if faults or not complete:
        raise SystemExit(f"see {folder}" if faults else "not complete")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
