"""The files in OUT-info: manifest.jsonl with a line per drawn image, fill.json with everything that decided them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from taildiff.data.store import Store
from taildiff.errors import InputError, SpecError
from taildiff.filling.filters import Counts, Verdict
from taildiff.io.atomic import write_json
from taildiff.io.json_files import read_json
from taildiff.sampling.folders import info_of

MANIFEST, SUMMARY, REJECTED, CHECK = "manifest.jsonl", "fill.json", "rejected", "check.json"
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """What all images of a fill share."""

    run: str
    step: int
    weights: str
    """sha256 of the weights file."""
    seed: int


@dataclass(frozen=True)
class Entry:
    """One drawn image with its file."""

    verdict: Verdict
    label: int
    guidance: float
    file: str | None

    def line(self, store: Store, origin: Origin) -> str:
        """Its line of the manifest."""
        verdict, names = self.verdict, store.meta.class_names
        values = {
            "file": self.file,
            "class": names[self.label],
            "label": self.label,
            "seed": origin.seed,
            "rank": verdict.rank,
            "guidance": self.guidance,
            "run": origin.run,
            "step": origin.step,
            "weights": origin.weights,
            "verdict": "admitted" if verdict.admitted else "rejected",
            "rejected_by": list(verdict.rejected_by),
            "scores": {
                "p_label": verdict.p_label,
                "predicted": names[verdict.predicted],
                "copy_ratio": verdict.copy_ratio,
                "nearest": {
                    "index": verdict.nearest,
                    "name": store.names[verdict.nearest] if store.names else None,
                    "distance": verdict.distance,
                },
                "repeat_ratio": verdict.repeat_ratio,
                "repeat_of": verdict.repeat_of,
            },
        }
        return json.dumps(values, allow_nan=False, ensure_ascii=False)


def write_manifest(folder: Path, lines: Iterable[str]) -> None:
    """Write manifest.jsonl; names that are not text are kept as they are escaped."""
    text = "".join(f"{line}\n" for line in lines)
    (folder / MANIFEST).write_bytes(text.encode("utf-8", "backslashreplace"))


def write_summary(folder: Path, key: str, values: Mapping[str, Any]) -> None:
    """Write fill.json."""
    write_json(folder / SUMMARY, {"format": FORMAT, "key": key, **values})


def finished_key(out: Path) -> str | None:
    """The key of the finished fill whose folder is OUT; None where there is none."""
    return summary_of(out).get("key") if out.is_dir() and any(out.iterdir()) else None


def summary_of(out: Path) -> dict[str, Any]:
    """fill.json of OUT; empty where there is none that can be read."""
    try:
        values = read_json(info_of(out) / SUMMARY)
    except SpecError:
        return {}
    return values if isinstance(values, dict) else {}


def read_counts(out: Path) -> dict[str, Counts]:
    """The counts of each class of a finished fill; `InputError` where fill.json is damaged or missing."""
    names = [each.name for each in fields(Counts)]
    try:
        return {name: Counts(*(values[each] for each in names)) for name, values in summary_of(out)["classes"].items()}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{info_of(out) / SUMMARY} is missing or damaged; fill again into a new folder") from None
