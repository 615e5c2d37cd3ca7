"""CPU seconds of evaluating 800 digits, here and in another checkout, in turns.

    git worktree add ../before 334bc29
    python benchmarks/evaluation.py --before ../before [--repeats 3] [--metrics cheap]

The images are 80 held-out digits per class as they are, and moved by one pixel to the side or down: three sets, as a
sweep over three guidance values has. They are compared with the 4,000 digits of the embedded store, over all classes,
head, body and tail, many, medium and few, and each class. The classifier is trained, and all features are cached,
before the measurement. One thread; each side runs in a process of its own, and the tables must be equal up to rounding.
`first` is the first set, for which the real side is computed too; `sweep` all three; `none` these without intervals.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

SETS = ("as-they-are", "to-the-side", "down")
HERE = Path(__file__).resolve().parents[1]


def prepare(place: Path) -> None:
    """The store with its classifier, three sets of images, and the training set that decides the groups."""
    import taildiff
    from taildiff.data.locate import embedded_digits
    from taildiff.data.longtail import Split
    from taildiff.recipes import recipe

    store = embedded_digits(place / "data")
    test, names = store.test_index, store.meta.class_names
    moved = [np.asarray(store.images[test]), *(np.roll(store.images[test], 1, axis=axis) for axis in (2, 1))]
    for name, images in zip(SETS, moved, strict=True):
        np.savez(place / f"{name}.npz", images=images, labels=store.labels[test], class_names=names)
    index = Split.cut(store, recipe("mnist5k-plain").data).index
    np.savez(place / "trained.npz", images=store.images[index], labels=store.labels[index], class_names=names)
    (place / "store").symlink_to(store.root)
    taildiff.evaluate(place / "down.npz", data=store.root, per_class=80, metrics=["accuracy"])


def measure(place: Path, metrics: str) -> None:
    """Print seconds as JSON, and leave the tables in `place`."""
    import taildiff
    from taildiff.spec import EvalSpec

    def run(names: tuple[str, ...], **fields: object) -> float:
        common = {"data": place / "store", "per_class": 80, "trained_on": place / "trained.npz"}
        total = 0.0
        for name in names:
            taildiff.evaluate(place / f"{name}.npz", metrics="accuracy", **common)  # pyright: ignore[reportArgumentType]
            start = time.process_time()
            done = taildiff.evaluate(place / f"{name}.npz", metrics=metrics, **common, **fields)  # pyright: ignore
            total += time.process_time() - start
            if not fields:
                shutil.copy(done.folder / "table.csv", place / f"{name}.csv")
        return total

    run(SETS[:1])  # loads libraries
    shutil.rmtree(place / f"{SETS[0]}.npz-evals")
    for cached in (place / "store" / "cache").glob("real-*"):
        cached.unlink()
    first = run(SETS[:1])
    seconds = {"first": first, "sweep": first + run(SETS[1:])}
    if "intervals" in EvalSpec.model_fields:
        for cached in (place / "store" / "cache").glob("real-*"):
            cached.unlink()
        seconds["none"] = run(SETS, intervals="none")
    print(json.dumps(seconds))


def measured(checkout: Path, data: Path, metrics: str) -> tuple[dict[str, float], list[list[dict[str, str]]]]:
    """Seconds and tables of one checkout."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "copy"
        shutil.copytree(data, place)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        command = [sys.executable, __file__, "--measure", str(place), "--metrics", metrics]
        env = os.environ | threads | {"PYTHONPATH": str(checkout / "src")}
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
        tables = [list(csv.DictReader((place / f"{name}.csv").open(encoding="utf-8"))) for name in SETS]
        return json.loads(done.stdout.splitlines()[-1]), tables


def check_equal(ours: list[list[dict[str, str]]], other: list[list[dict[str, str]]]) -> None:
    """Raise where a value or an interval differs by more than rounding."""
    for a, b in zip(ours, other, strict=True):
        for row, same in zip(a, b, strict=True):
            for column in ("value", "low", "high"):
                x, y = (float(each[column] or "nan") for each in (row, same))
                np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12, err_msg=f"{row['metric']} {column}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--metrics", default="cheap", help="cheap or all")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args.metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        prepare(data)
        sides = {"now": HERE} | ({"before": args.before.resolve()} if args.before else {})
        seconds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(args.repeats):
            tables = {}
            for side, checkout in sides.items():
                times, tables[side] = measured(checkout, data, args.metrics)
                seconds[side].append(times)
            if args.before:
                check_equal(tables["now"], tables["before"])
    medians = {side: {name: median(t[name] for t in times) for name in times[0]} for side, times in seconds.items()}
    for side, values in medians.items():
        print(f"{side}: " + ", ".join(f"{name} {value:.2f} s" for name, value in values.items()))
    if args.before:
        now, before = medians["now"], medians["before"]
        print("before : now = " + ", ".join(f"{name} {before[name] / now[name]:.1f}" for name in ("first", "sweep")))
        print(f"sweep before : now without intervals = {before['sweep'] / now['none']:.1f}")


if __name__ == "__main__":
    main()
