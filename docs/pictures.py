"""Draw the pictures of the README from the runs of `make demo`: python docs/pictures.py [--runs runs/demo].

rare-classes.png    samples of the four rarest digits, plain above CCUA, with the number of training images
report.png          the samples in report.html, where a Chromium browser is installed
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import taildiff
from taildiff.data.longtail import Split
from taildiff.run.layout import RunDir

IMAGES = Path(__file__).parent / "images"
METHODS = ("plain", "ccua")
CLASSES, PER_CLASS = 4, 20
ONLY_SAMPLES = "header, nav, footer, main > :not(:has(#samples)):not(#samples) { display: none }"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def rare_classes(runs: Path, guidance: float = 2.0) -> None:
    """Rows of samples, class by class from the rarest, one row per method; the first ranks, not selected."""
    models = {name: taildiff.load(runs / name) for name in METHODS}
    facts = models[METHODS[0]].facts
    counts = Split.load(RunDir(runs / METHODS[0]).split).counts
    rarest = np.argsort(counts, kind="stable")[:CLASSES]
    figure, axes = plt.subplots(CLASSES * len(METHODS), 1, figsize=(8, 3.6))
    rows = ((label, name) for label in rarest for name in METHODS)
    for axis, (label, name) in zip(axes, rows, strict=True):
        images = models[name].sample([int(label)] * PER_CLASS, guidance=guidance, format="uint8")
        axis.imshow(np.concatenate(list(images), axis=1), cmap="gray")
        axis.set_axis_off()
        title = {"plain": "plain", "ccua": "CCUA"}[name]
        axis.text(-0.005, 0.5, title, transform=axis.transAxes, ha="right", va="center", fontsize=8)
        if name == METHODS[0]:
            text = f"{facts.class_names[label]}   {counts[label]} images"
            axis.text(-0.075, -0.05, text, transform=axis.transAxes, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(left=0.19, right=0.995, top=0.995, bottom=0.005, hspace=0.05)
    figure.savefig(IMAGES / "rare-classes.png", dpi=150)


def report(runs: Path) -> None:
    """The samples of the report, class by class."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print("no Chromium browser: report.png is left as it is")
        return
    target = IMAGES / "report.png"
    text = (
        (runs / "report.html").read_text(encoding="utf-8").replace("</head>", f"<style>{ONLY_SAMPLES}</style></head>")
    )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "samples.html")
        page.write_text(text, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,640"]
        command = [browser, *options, f"--user-data-dir={folder}", f"--screenshot={target}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    """Both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"))
    runs = parser.parse_args().runs
    rare_classes(runs)
    report(runs)


if __name__ == "__main__":
    main()
