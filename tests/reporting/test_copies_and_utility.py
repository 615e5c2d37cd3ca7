"""The sections of a report on copies and on utility."""

import re
from pathlib import Path

import fake_runs
import numpy as np
import pytest

import taildiff
from cli.calls import call, said
from evaluation import tiny
from taildiff.data.store import Store
from taildiff.evaluation.table import Row, Table
from taildiff.reporting.load import load
from taildiff.reporting.utility import run_utility
from taildiff.run.layout import RunDir

COUNTS = (12, 9, 5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.make_store(tmp_path_factory.mktemp("copies") / "store", COUNTS, (8, 8, 8))


def evaluated(root: Path, store: Store, copied: int) -> RunDir:
    """A run whose first `copied` images of `top` are training images; the others are like no real image."""
    run = tiny.make_run(root, store)
    fake_runs._write_table(run, run.info().spec, store.facts, COUNTS, (2.0,), 0.0, True)
    images, labels = tiny.images((6, 6, 6), seed=9)
    images = 255 - images
    images[12 : 12 + copied] = store.images[np.flatnonzero((store.labels == 2) & ~store.test)[:copied]]
    np.savez(next(run.evaluations()).images(2.0), images=images, labels=labels)
    return run


def plain(text: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", text).split())


def test_copies_come_first_with_their_classes_and_pairs(store: Store, tmp_path: Path):
    page = taildiff.report(evaluated(tmp_path / "a", store, 3).root).read_text(encoding="utf-8")
    verdict = plain(page.split('class="verdict"')[1].split("</section>")[0])
    assert "a copies training images in 3 of 18 images (17 %): top 50 %." in verdict
    copies = page.split('<h2 id="copies">')[1].split("</section>")[0]
    assert "<details open>" in copies
    rows = [plain(row).split() for row in re.findall("<tr><th scope=.row.*?</tr>", copies)]
    assert rows[0][:5] == ["all", "classes", "3", "of", "18"]
    assert rows[-1] == ["top", "3", "of", "6", "(50", "%)"]
    pairs = re.findall("<li>.*?</li>", copies)
    assert len(pairs) == 10
    assert [pair.count("<img src=") for pair in pairs] == [2] * 10
    assert [plain(pair) for pair in pairs[:3]] == ["top, 0.00 × copy"] * 3
    made, real = re.findall('src="(.*?)"', pairs[0])
    assert made == real  # an exact copy
    ratios = [float(re.findall(r"(\d\.\d\d) ×", pair)[0]) for pair in pairs]
    assert ratios == sorted(ratios)


def test_without_copies_it_says_how_many_there_may_be(store: Store, tmp_path: Path):
    page = taildiff.report(evaluated(tmp_path / "a", store, 0).root).read_text(encoding="utf-8")
    verdict = plain(page.split('class="verdict"')[1].split("</section>")[0])
    assert "a has no copy of a training image among 18 images (at most 17.6 %)." in verdict
    assert "searched for copies" not in page


def test_a_run_without_its_store_lists_what_is_missing(tmp_path: Path):
    store = tiny.make_store(tmp_path / "store", COUNTS)
    run = evaluated(tmp_path / "a", store, 0)
    store.root.rename(tmp_path / "moved")
    page = plain(taildiff.report(run.root).read_text(encoding="utf-8"))
    assert "a was not searched for copies of training images" in page
    assert "--metrics cheap,memorized" in page


def with_utility(run: RunDir, gain: tuple[float, float, float]) -> RunDir:
    (folder,) = run.evaluations()
    table = Table.read(folder)
    base = next(row for row in table.rows if row.metric == "accuracy" and row.group == "all" and row.guidance == 2)

    def row(metric: str, group: str, value: float, low: float, high: float) -> Row:
        return base.model_copy(update={"metric": metric, "group": group, "value": value, "low": low, "high": high})

    rows = [
        row(f"utility_{kind}", group, value, value - 0.1, value + 0.1)
        for group in ("all", "tail")
        for kind, value in (("real", 0.5), ("completed", 0.5 + gain[0]))
    ]
    rows += [row("utility_gain", group, *gain) for group in ("all", "tail")]
    Table((*table.rows, *rows), table.definition).write(folder)
    return run


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        ((0.04, 0.01, 0.07), "makes a classifier better over all classes: +4.0 % accuracy (+1.0 % to +7.0 %)"),
        ((-0.04, -0.07, -0.01), "makes a classifier worse over all classes: -4.0 % accuracy"),
        ((0.04, -0.01, 0.09), "adds nothing clear to a classifier over all classes: +4.0 % accuracy"),
    ],
)
def test_utility_is_said_plainly(tmp_path: Path, gain: tuple[float, float, float], text: str):
    run = with_utility(fake_runs.make_run(tmp_path / "a"), gain)
    (found,) = run_utility(load([run]).runs)
    assert text in found.sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert [line.clear for line in found.lines] == [gain[1] > 0 or gain[2] < 0] * 2
    page = plain(taildiff.report(run.root).read_text(encoding="utf-8")).replace("\N{NO-BREAK SPACE}", " ")
    assert text in page.split("How far to trust it")[0]
    assert "was not tested" not in page


def test_images_from_elsewhere_get_the_same_report(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("taildiff.evaluation.classifier_network._STEPS", (6, 6))
    images, labels = tiny.images((20, 20, 20), seed=3)
    images[40:45] = store.images[np.flatnonzero((store.labels == 2) & ~store.test)[:5]]
    file = tmp_path / "drawn.npz"
    np.savez(file, images=images, labels=labels, class_names=np.array(tiny.NAMES))
    assert call("report", file) == 2
    assert "as images it has not been evaluated; do that first: taildiff evaluate" in said(capsys)
    taildiff.evaluate(file, data=store.root, metrics="accuracy")
    assert call("report", file) == 0
    text = said(capsys)
    assert "guidance 1" not in text
    assert f"taildiff gallery {file}" in text
    page = (tmp_path / "drawn-report.html").read_text(encoding="utf-8")
    words = plain(page)
    assert "60 existing images were compared with real ones of 8 × 8 pixels: 26 in 3 classes" in words
    assert "drawn.npz copies training images in 5 of 60 images (8.3 %): top 25 %." in words
    assert "of its images are recognised as their class" in words
    assert re.search(r"top , the rarest class, with 5 real images|top, the rarest class, with 5 real images", words)
    assert "guidance 1" not in words
    assert "at step" not in words
    assert len(re.findall("<li><img", page)) == 10
    assert "6 images of class" not in words
    gallery = taildiff.gallery(file).read_text(encoding="utf-8")
    assert len(re.findall("Nearest training image:", gallery)) == 60  # found by what the evaluation recorded
    assert call("report", file, tmp_path / "drawn.npz") == 2
    assert "taildiff compare" in said(capsys)


def test_a_pdf_is_refused_in_one_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = fake_runs.make_run(tmp_path / "a")
    assert call("report", run.root, "--out", tmp_path / "r.pdf") == 2
    assert (
        capsys.readouterr().err.strip() == f"error: {tmp_path / 'r.pdf'} has the suffix '.pdf': --out must end in .html"
    )


def test_without_a_rarest_class_the_worst_one_is_shown(tmp_path: Path):
    store = tiny.make_store(tmp_path / "store", (8, 8, 8))
    run = tiny.make_run(tmp_path / "a", store)
    fake_runs._write_table(run, run.info().spec, store.facts, (8, 8, 8), (2.0,), 0.0, True)
    images, labels = tiny.images((3, 3, 3), seed=9)
    np.savez(next(run.evaluations()).images(2.0), images=images, labels=labels)
    page = plain(taildiff.report(run.root).read_text(encoding="utf-8"))
    assert "in 3 classes, 8 of each" in page
    assert "the worst recognised class, with 8 training images" in page
    assert "rarest class, with" not in page
    assert "8 images, head" not in page
