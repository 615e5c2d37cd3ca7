"""The layout of a run on disk: the only module that names paths inside a run."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from taildiff.errors import RunError
from taildiff.run.info import RunInfo, read_run_info


@dataclass(frozen=True)
class RunDir:
    """`runs/<name>/`; no method creates anything, so that a mistyped path leaves nothing behind."""

    root: Path

    @property
    def spec(self) -> Path:
        """run.json: spec, command, versions, hardware, hash of the split."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """.lock: names the process that trains the run; left behind only by a killed process."""
        return self.root / ".lock"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl: one line per logged step, append-only."""
        return self.root / "metrics.jsonl"

    @property
    def split(self) -> Path:
        """split.json: the images of the store that were trained on."""
        return self.root / "split.json"

    @property
    def report(self) -> Path:
        """report.html."""
        return self.root / "report.html"

    @property
    def states(self) -> Path:
        """state/: what training resumes from, one folder per checkpoint."""
        return self.root / "state"

    def state(self, step: int) -> Path:
        """The checkpoint of one step."""
        return self.states / f"step-{step:07d}"

    @property
    def weights_dir(self) -> Path:
        """weights/: averaged and raw weights with the spec in their metadata, which is all that sampling needs."""
        return self.root / "weights"

    def weights(self, step: int, kind: str = "ema") -> Path:
        """The weights file of one step; `kind` is `ema` or `raw`."""
        return self.weights_dir / f"{kind}-{step:07d}.safetensors"

    @property
    def samples(self) -> Path:
        """samples/: grids drawn during training."""
        return self.root / "samples"

    def sample_grid(self, step: int) -> Path:
        """The grid drawn at one step."""
        return self.samples / f"step-{step:07d}.png"

    @property
    def tensorboard(self) -> Path:
        """tensorboard/: event files, which hold what metrics.jsonl and samples/ do."""
        return self.root / "tensorboard"

    @property
    def evals(self) -> Path:
        """evals/: one folder per definition."""
        return self.root / "evals"

    def evaluation(self, definition: str) -> "EvalDir":
        """The folder of one evaluation."""
        return EvalDir(self.evals / definition)

    def evaluations(self) -> Iterator["EvalDir"]:
        """All finished evaluations, oldest first."""
        yield from in_order(self.evals.glob("*/table.json"))

    def checkpoint_steps(self) -> list[int]:
        """Steps with a checkpoint folder, ascending; half-written ones have a temporary name and do not count."""
        return _steps(self.states, r"step-(\d+)")

    def weight_steps(self, kind: str = "ema") -> list[int]:
        """Steps with a weights file, ascending."""
        return _steps(self.weights_dir, rf"{kind}-(\d+)\.safetensors")

    def grid_steps(self) -> list[int]:
        """Steps with a sample grid, ascending."""
        return _steps(self.samples, r"step-(\d+)\.png")

    def exists(self) -> bool:
        """Whether there is a run here."""
        return self.spec.is_file()

    def info(self) -> RunInfo:
        """The content of run.json; `RunError` when it is missing or damaged."""
        if not self.exists():
            raise RunError(
                f"{self.root} is not a run (no run.json there); train one: taildiff train RECIPE --out {self.root}"
            )
        return read_run_info(self.spec)


@dataclass(frozen=True)
class EvalDir:
    """`evals/<definition>/`: one evaluation of one run."""

    root: Path

    @property
    def table_csv(self) -> Path:
        """The table as CSV."""
        return self.root / "table.csv"

    @property
    def table_json(self) -> Path:
        """The same rows with the definition; written last, so that its presence means finished."""
        return self.root / "table.json"

    @property
    def sources(self) -> Path:
        """sources.json: where the real images of an evaluation of existing images are, for pages that show them."""
        return self.root / "sources.json"

    def images(self, guidance: float) -> Path:
        """Generated images and labels at one guidance."""
        return self.root / f"images-g{guidance:g}.npz"

    @property
    def age(self) -> tuple[int, int]:
        """(step of its weights, place in the order in which its neighbours were finished), as table.json says.

        0 where it does not: the order in those of older versions, both in a damaged file.
        """
        try:
            values = json.loads(self.table_json.read_bytes())
            return int(values["definition"]["step"]), int(values.get("order", 0))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return 0, 0


def in_order(tables: Iterable[Path]) -> list[EvalDir]:
    """The evaluations of these table.json files, oldest first: by step, then in the order in which they were finished.

    Copying a run changes the times of its files, so these only order evaluations of older versions at one step.
    """
    return sorted((EvalDir(path.parent) for path in tables if path.is_file()), key=_place)


def _place(folder: EvalDir) -> tuple[int, int, int, str]:
    step, order = folder.age
    return step, order, 0 if order else folder.table_json.stat().st_mtime_ns, folder.root.name


def next_order(folder: EvalDir) -> int:
    """The place of an evaluation that is finished now, after all beside it."""
    others = (EvalDir(path.parent) for path in folder.root.parent.glob("*/table.json") if path.is_file())
    return 1 + max((other.age[1] for other in others), default=0)


def weights_at(path: Path) -> Path:
    """A weights file: the path itself, or the newest averaged weights of the run there; `RunError` without any."""
    run = RunDir(path)
    if not run.exists():
        return path
    if not (steps := run.weight_steps()):
        raise RunError(f"{path} has no weights yet: continue it with the same taildiff train command")
    return run.weights(steps[-1])


def _steps(folder: Path, pattern: str) -> list[int]:
    if not folder.is_dir():
        return []
    matches = (re.fullmatch(pattern, entry.name) for entry in folder.iterdir())
    return sorted(int(match.group(1)) for match in matches if match)


def seconds_at(log: Path, step: int) -> float:
    """Training seconds at the last logged step up to `step`; `RunError` without such a line."""
    seconds = None
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        try:
            values = json.loads(line)
            if int(values["step"]) <= step:
                seconds = float(values["seconds"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue  # being written, or truncated by a crash
    if seconds is None:
        raise RunError(
            f"{log} has no line up to step {step}, so the training time is unknown: compare --at steps or images"
        )
    return seconds
