import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_runs import COUNTS, make_run, write_errors
from PIL import Image

from taildiff.data.store import SourceMeta, StoreWriter
from taildiff.errors import InputError, RunError
from taildiff.reporting.load import load
from taildiff.reporting.report import write_page
from taildiff.reporting.samples import LARGEST_TILE, TILES, sample_sheet
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir

VOID = {"meta", "img", "br", "path", "circle", "use"}


class _Page(HTMLParser):
    """Collects tags and text, and checks that every tag is closed."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def _images(size: int = 8, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(10), 9)
    images = np.random.default_rng(0).integers(0, 256, (90, size, size, channels), dtype=np.uint8)
    return images, labels


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, RunDir]:
    root = tmp_path_factory.mktemp("runs")
    runs = (
        make_run(root / "plain", images=_images()),
        make_run(root / "ccua", images=_images(), quality=1.5, weight=0.2),
    )
    for key, run in enumerate(runs):
        write_errors(run, key=key)
    return runs


@pytest.fixture(scope="module")
def text(pair: tuple[RunDir, RunDir], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(load(pair), tmp_path_factory.mktemp("out") / "deep" / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere(text: str):
    without = re.sub(r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"', "", text)
    assert "http:" not in without
    assert "https:" not in without
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", without).replace("://", "X")
    page = _Page(text)
    assert not page.open
    assert {"script", "link", "iframe", "object", "base", "form"}.isdisjoint(tag for tag, _ in page.tags)
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "data", "action"):
            target = attrs.get(name)
            assert target is None or target.startswith(("#", "data:image/png;base64,")), (tag, target)
    assert not re.search(r"@import|url\((?!#)", text)


@pytest.mark.charts
def test_same_runs_same_bytes(pair: tuple[RunDir, RunDir], text: str, tmp_path: Path):
    assert write_page(load(pair), tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_the_page_is_accessible(text: str):
    page = _Page(text)
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert all(attrs.get("alt") for attrs in page.all("img"))
    drawings = [attrs for attrs in page.all("svg") if attrs.get("aria-hidden") != "true"]
    assert len(drawings) == 4 + 4 + 4 + 4 + 4 + 2 + 1 + 3 + 4 + 3
    assert all(attrs.get("aria-label") and attrs.get("role") == "img" for attrs in drawings)
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag not in ("path", "clippath")]
    assert len(ids) == len(set(ids))
    named = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {str(attrs["aria-labelledby"]) for _, attrs in page.tags if "aria-labelledby" in attrs} <= named
    assert {str(attrs["href"])[1:] for attrs in page.all("a")} <= named
    assert text.count("<summary>The numbers</summary>") == 10
    assert text.count("<figure") == 11  # and the picture of the verdict
    tables = re.findall(r"<table>(.*?)</table>", text, re.S)
    assert tables
    assert all(table.strip().startswith("<caption>") for table in tables)


def test_the_first_screen_has_the_findings_and_how_far_to_trust_them(text: str):
    first_screen = _Page(text.split("<nav")[0]).text
    assert "plain and ccua on mnist5k" in first_screen
    assert "Two models were trained on 988 images" in first_screen
    assert "They differ only in objective.al.weight (plain 0, ccua 0.2) and objective.ucl.weight" in first_screen
    assert "ccua (guidance 2) is ahead in " in first_screen
    assert "Fréchet distance over all classes (7.65 against 9.00)" in first_screen
    assert "Too close to call, Holm-corrected over all comparisons at 5 %: " in first_screen
    assert "Verdict over 12 comparisons with plain" in first_screen
    assert (
        "Each guidance was chosen from 1, 2, 3 by the lowest Fréchet distance over all classes, on the same images"
        in first_screen
    )
    assert "One training run per setting" in first_screen


def test_the_verdict_is_one_sentence_with_the_rarest_class_as_its_picture(text: str):
    answer = re.findall(r'<p class="answer">(.*?)</p>', text, re.S)
    assert [_Page(each).text for each in answer] == [
        "ccua is better in 4 of 12 comparisons and worse in none: Fréchet distance in the tail (16.1 against 19.0) and "
        "over all classes (7.65 against 9.00), and in 2 more."
    ]
    proof = text.split('<figure class="proof">')[1].split("</figure>")[0]
    assert "9</strong>, the rarest class, with 4 training images" in proof
    assert [image["alt"] for image in _Page(proof).all("img")] == [
        f"8 images of class 9: {name}, guidance 2" for name in ("plain", "ccua")
    ]


def test_the_order_is_verdict_copies_utility_quality_and_trust_is_folded(text: str):
    order = [
        'id="verdict"',
        "<summary>All findings",
        "How far to trust it",
        'id="samples"',
        'id="quality"',
        'id="data"',
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    trust = re.findall(r"<details[^>]*>\s*<summary>How far to trust it.*?</details>", text, re.S)
    assert len(trust) == 1
    assert " open" not in trust[0].split(">")[0]


def test_what_the_verdict_calls_clear_is_marked(text: str):
    table = text.split('class="summary"')[1].split("</table>")[0]
    plain, ccua = table.split("<tr>")[-2:]
    assert re.findall(r"<b>(.*?)</b>", plain) == []  # less time is no verdict
    assert re.findall(r"<b>(.*?)</b>", ccua)[:4] == ["7.65", "9.35", "11.1", "16.1"]


def _pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_strips_are_the_first_samples_of_each_class(pair: tuple[RunDir, RunDir]):
    sheet = sample_sheet(load(pair).runs)
    assert sheet is not None
    assert sheet.columns == ("plain, guidance 2", "ccua, guidance 2")  # the store is gone: no real images
    assert [row.count for row in sheet.rows] == list(COUNTS)
    images, labels = _images()
    for label, row in enumerate(sheet.rows):
        expected = np.concatenate(images[labels == label][:TILES, ..., 0], axis=1)
        assert row.strips[0] is not None
        np.testing.assert_array_equal(_pixels(row.strips[0].uri), expected)


def test_real_images_are_those_trained_on(tmp_path: Path):
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    labels = np.repeat(np.arange(2), 20)
    with StoreWriter(tmp_path / "store", "two", ("a", "b"), (8, 8, 3), SourceMeta(source="made up")) as writer:
        writer.append(images, labels, np.zeros(40, bool))
        store = writer.close()
    index = np.array([*range(3, 15), 22, 25])
    shown = images[[0, 1]], np.array([0, 1])
    run = make_run(tmp_path / "run", counts=(12, 2), names=("a", "b"), store=store.root, index=index, images=shown)
    sheet = sample_sheet(load([run]).runs)
    assert sheet is not None
    assert sheet.columns == ("run, guidance 2",)  # the hash of the store is not that of the run

    info = json.loads(run.spec.read_text())
    info["store"]["hash"] = store.meta.hash
    run.spec.write_text(json.dumps(add_checksum(info)))
    sheet = sample_sheet(load([run]).runs)
    assert sheet is not None
    assert sheet.columns == ("real, trained on", "run, guidance 2")
    common, rare = (row.strips[0] for row in sheet.rows)
    assert common is not None
    assert rare is not None
    assert _pixels(common.uri)[0, ::8, 0].tolist() == list(range(3, 3 + TILES))
    assert _pixels(rare.uri)[0, ::8, 0].tolist() == [22, 25]


def test_large_images_are_reduced(tmp_path: Path):
    sheet = sample_sheet(load([make_run(tmp_path / "a", images=_images(200, 3))]).runs)
    assert sheet is not None
    strip = sheet.rows[0].strips[0]
    assert strip is not None
    assert _pixels(strip.uri).shape == (LARGEST_TILE, TILES * LARGEST_TILE, 3)


def test_what_users_name_is_escaped(tmp_path: Path):
    hostile = '<script>alert("x")</script> & {{ 7*7 }}'
    names = (hostile, "</svg><img src=http://x>", "--> ' \" $x$")
    images = np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) % 3
    run = make_run(tmp_path / "a<b>&'", counts=(9, 5, 2), names=names, images=images)
    page = _Page(write_page(load([run]), tmp_path / "r.html", title="<i>title</i>").read_text(encoding="utf-8"))
    assert not page.open
    assert not page.all("script")
    assert not page.all("i")
    assert all(str(attrs["src"]).startswith("data:") for attrs in page.all("img"))
    assert hostile in page.text
    assert "a<b>&'" in page.text


@pytest.mark.parametrize(("log", "evaluated"), [(False, False), (True, False), (False, True)])
def test_missing_parts_are_listed_with_their_command(tmp_path: Path, log: bool, evaluated: bool):
    run = make_run(tmp_path / "my run", log=log, evaluated=evaluated)
    page = _Page(write_page(load([run]), run.report).read_text(encoding="utf-8"))
    assert ("has not been evaluated. taildiff evaluate '" in page.text) == (not evaluated)
    assert ("--utility" in page.text) == ("--metrics cheap,memorized" in page.text) == evaluated
    assert ("no training log" in page.text) == (not log)
    assert ("taildiff sample '" in page.text) == evaluated
    assert "OTHER_RUN" in page.text
    assert ("Loss by term" in page.text) == log
    assert ("against guidance" in page.text) == evaluated


def test_training_grids_stand_in_for_samples(tmp_path: Path):
    run = make_run(tmp_path / "a", evaluated=False)
    run.samples.mkdir()
    for step in (100, 300):
        Image.fromarray(np.full((4, 4), step % 256, np.uint8)).save(run.sample_grid(step))
    page = _Page(write_page(load([run]), run.report).read_text(encoding="utf-8"))
    (grid,) = page.all("img")
    assert "step 300" in str(grid["alt"])
    assert _pixels(str(grid["src"]))[0, 0] == 300 % 256


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _line(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[4] = '{"step": "x"}'
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("find", "damage"),
    [
        (lambda run: run.spec, _cut),
        (lambda run: run.spec, lambda path: path.write_text("{}")),
        (lambda run: run.spec, lambda path: path.write_text("[1]")),
        (lambda run: run.split, _cut),
        (lambda run: run.metrics, _line),
        (lambda run: next(run.evaluations()).table_json, _cut),
        (lambda run: next(run.evaluations()).images(2.0), _cut),
    ],
)
def test_damage_is_an_error_that_names_the_file(
    tmp_path: Path, find: Callable[[RunDir], Path], damage: Callable[[Path], None]
):
    run = make_run(tmp_path / "a", images=_images())
    damage(find(run))
    with pytest.raises(RunError, match=re.escape(str(find(run)))):
        write_page(load([run]), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_line_that_is_being_written_is_not_damage(tmp_path: Path):
    run = make_run(tmp_path / "a")
    whole = load([run]).runs[0].log
    with run.metrics.open("a") as file:
        file.write('{"step": 61')
    assert load([run]).runs[0].log == whole


def test_not_a_number_in_the_log_is_left_out(tmp_path: Path):
    run = make_run(tmp_path / "a")
    with run.metrics.open("a") as file:
        file.write(
            '{"step": 610, "loss": NaN, "terms": {"denoising": NaN}, "by_noise": {"denoising": [NaN, 1, 1, 1]}}\n'
        )
    last = load([run]).runs[0].log[-1]
    assert (last.loss, last.terms["denoising"], last.by_noise["denoising"][0]) == (None, None, None)


def test_other_errors_end_in_what_to_do(tmp_path: Path):
    with pytest.raises(RunError, match="taildiff train"):
        write_page(load([RunDir(tmp_path / "nothing")]), tmp_path / "r.html")
    with pytest.raises(RunError, match="no run"):
        write_page(load([]), tmp_path / "r.html")
    with pytest.raises(InputError, match="--out"):
        write_page(load([make_run(tmp_path / "a")]), tmp_path)


def test_reporting_imports_no_torch():
    code = (
        "import sys, taildiff.reporting.report; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
