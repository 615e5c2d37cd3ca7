"""The gallery: what it shows of a run, of a filled folder and of any folder; its filters in a browser; its size."""

import base64
import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import fake_runs
import numpy as np
import pytest
from PIL import Image

import taildiff
from cli.calls import call, said
from evaluation import tiny
from filling.made import Filling
from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.filling.manifest import read_counts
from taildiff.reporting.gallery import LARGEST_PAGE, Gallery, GalleryClass, Generated, fitted, render
from taildiff.run.layout import RunDir
from taildiff.sampling.folders import info_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
COUNTS, HELD_OUT, MADE = (12, 9, 5), (8, 8, 8), 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.make_store(tmp_path_factory.mktemp("gallery") / "store", COUNTS, HELD_OUT)


@pytest.fixture(scope="module")
def run(store: Store) -> RunDir:
    """A run evaluated at two values of guidance; at 2 the first image of each class is a training image, darkened."""
    run = tiny.make_run(store.root.parent / "run", store)
    fake_runs._write_table(run, run.info().spec, store.facts, COUNTS, (1.0, 2.0), 0.0, True)
    for guidance in (1.0, 2.0):
        images, labels = tiny.images((MADE,) * 3, seed=int(10 + guidance))
        if guidance == 2:
            for label in range(3):
                first = np.flatnonzero((store.labels == label) & ~store.test)[0]
                images[label * MADE] = store.images[first] // 8 * 8
        np.savez(next(run.evaluations()).images(guidance), images=images, labels=labels)
    return run


def cards(page: str, **wanted: str) -> list[str]:
    found = re.findall(r'<li class="card".*?</li>', page, re.S)
    return [card for card in found if all(re.search(f'data-{k}="[^"]*{v}[^"]*"', card) for k, v in wanted.items())]


def test_a_run_shows_every_guidance_beside_the_nearest_training_images(run: RunDir, store: Store):
    page = taildiff.gallery(run.root).read_text(encoding="utf-8")
    assert len(cards(page)) == 2 * 3 * MADE
    assert len(cards(page, g="1.0")) == len(cards(page, g="2.0")) == 3 * MADE
    copies = cards(page, v="copy")
    assert len(copies) == 3
    assert all('data-g="2.0"' in card and "copy of a training image" in card for card in copies)
    for label, card in enumerate(copies):
        first = np.flatnonzero((store.labels == label) & ~store.test)[0]
        assert f"r{first}" in card
        assert f"Nearest training image: {tiny.NAMES[label]}, image {first} of the store" in card
    headings = [re.sub("<.*?>", " ", each).split() for each in re.findall("<h2>.*?</h2>", page)]
    assert headings == [[name, str(n), "training", "images,", group] for name, n, group in
                        zip(tiny.NAMES, COUNTS, ("head", "body", "tail"), strict=True)]  # fmt: skip
    assert page.count('aria-label="Real left') == 12
    assert '<option value="2.0" selected>2</option>' in page  # the fake run's best guidance
    pixels = Image.open(_decoded(re.findall(r'src="data:image/png;base64,(.*?)"', page)[3 * MADE])).convert("L")
    assert pixels.size == (8, 8)


def _decoded(text: str):
    import io

    return io.BytesIO(base64.b64decode(text))


def test_the_page_needs_no_network_and_has_a_text_for_every_picture(run: RunDir, tmp_path: Path):
    page = taildiff.gallery(run.root, out=tmp_path / "g.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert not re.findall(r"url\((?!data:)", page)
    assert all('alt="Generated' in image for image in re.findall("<img [^>]*>", page))
    assert all("aria-label=" in each for each in re.findall("<i class=[^>]*>", page))
    assert len(re.findall("<script>", page)) == 1


def test_without_its_store_a_run_shows_what_it_has(store: Store, run: RunDir, tmp_path: Path):
    shutil.copytree(run.root, tmp_path / "run")
    moved = store.root.with_name("moved")
    store.root.rename(moved)
    try:
        page = taildiff.gallery(tmp_path / "run").read_text(encoding="utf-8")
        assert "The real images are not shown" in page
        assert "Nearest training image" not in page
        assert len(cards(page)) == 2 * 3 * MADE
        page = taildiff.gallery(tmp_path / "run", data=moved, per_class=2).read_text(encoding="utf-8")
        assert len(cards(page)) == 2 * 3 * 2
        assert len(cards(page, v="copy")) == 3
    finally:
        moved.rename(store.root)


def test_mistakes(run: RunDir, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bare = tiny.make_run(tmp_path / "bare", store)
    for words, message in (
        ((bare.root,), "has no generated images to show; make some: taildiff evaluate"),
        ((tmp_path / "nothing",), "does not exist"),
        ((run.root, "--out", tmp_path / "g.pdf"), "--out must end in .html"),
        ((run.root, "--per-class", "0"), "must be at least 1"),
        ((run.root, "--data", tmp_path / "none"), "none does not exist"),
    ):
        assert call("gallery", *words) == 2
        assert message in said(capsys)
    assert call("gallery", run.root, "--out", tmp_path / "g.html", "--title", "Mine <1>") == 0
    assert f"gallery: {tmp_path / 'g.html'}" in said(capsys)
    assert "<h1>Mine &lt;1&gt;</h1>" in (tmp_path / "g.html").read_text(encoding="utf-8")


def folder_of_images(root: Path) -> Path:
    images, labels = tiny.images((3, 3, 3), seed=5)
    for k, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        (root / tiny.NAMES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(root / tiny.NAMES[label] / f"{k}.png")
    return root


def test_any_folder_alone_and_beside_real_images(store: Store, tmp_path: Path):
    drawn = folder_of_images(tmp_path / "drawn")
    page = taildiff.gallery(drawn)
    assert page == tmp_path / "drawn-gallery.html"
    text = page.read_text(encoding="utf-8")
    assert len(cards(text)) == 9
    assert "taildiff gallery" in text
    assert "Nearest" not in text
    text = taildiff.gallery(drawn, data=store.root).read_text(encoding="utf-8")
    assert len(re.findall("Nearest training image:", text)) == 9
    assert 'alt="Generated left, left/0.png"' in text


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Path:
    """A folder as `taildiff fill` writes it: three images admitted, one rejected and kept, one not kept."""
    out = folder_of_images(tmp_path / "filled")
    info = tmp_path / "filled-info"
    (info / "rejected" / "top").mkdir(parents=True)
    shutil.move(out / "top" / "8.png", info / "rejected" / "top" / "8.png")

    def line(file: str | None, rank: int, *reasons: str, predicted: str = "top") -> str:
        near = {"index": 21, "name": None, "distance": 0.5}
        scores = {"p_label": 0.9, "predicted": predicted, "copy_ratio": 0.8, "nearest": near, "repeat_ratio": None}
        values = {"file": file, "class": "top", "label": 2, "seed": 0, "rank": rank, "guidance": 2.0, "run": "run"}
        verdict = "rejected" if reasons else "admitted"
        return json.dumps(values | {"verdict": verdict, "rejected_by": reasons, "scores": scores | {"repeat_of": None}})

    lines = [line("top/6.png", 0), line("top/7.png", 1)]
    lines += [line("rejected/top/8.png", 2, "copy", "class", predicted="left"), line(None, 3, "repeat")]
    (info / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    record = {"store": store.meta.hash, "store_path": str(store.root), "run_path": "gone"}
    (info / "fill.json").write_text(json.dumps(record))
    return out


def test_a_filled_folder_shows_its_verdicts_and_reasons(filled: Path):
    page = taildiff.gallery(filled).read_text(encoding="utf-8")
    assert len(cards(page)) == 3
    assert len(cards(page, v="admitted")) == 2
    (rejected,) = cards(page, v="rejected")
    assert "rejected: copy of a training image" in rejected
    assert "rejected: shows another class" in rejected
    assert "seen as left" in rejected
    assert "0.80 × usual" in rejected
    assert "r21" in rejected
    assert "4 drawn: 2 admitted, 2 rejected (1 as copies, 1 as repeats)." in page
    assert "1 rejected image was not kept" in page
    assert [re.findall("<h2>(.*?)<", page)] == [["top"]]


def test_what_fill_writes_is_read_as_it_is(tmp_path: Path):
    made, out = Filling(tmp_path, {"cat": 14, "dog": 10, "owl": 7}), tmp_path / "filled"
    made.into(out, keep_rejected=True)
    page = taildiff.gallery(out).read_text(encoding="utf-8")
    counts = read_counts(out)
    assert {name: count.asked for name, count in counts.items()} == {"dog": 1, "owl": 3}
    assert len(cards(page)) == sum(count.drawn for count in counts.values())
    assert len(cards(page, v="admitted")) == sum(count.admitted for count in counts.values())
    assert len(re.findall("Nearest training image: (?:cat|dog|owl)/", page)) == len(cards(page))
    assert page.count('aria-label="Real owl: owl/') == counts["owl"].training
    assert "cat<small>" not in page  # it was not filled
    assert f"3 asked for, {counts['owl'].drawn} drawn: {counts['owl'].admitted} admitted, " in page
    assert ". Classifier right on 1 of 2 real ones" in page
    assert "help" not in (lead := re.findall('<p class="lead">(.*?)</p>', page)[0])
    (info_of(out) / "check.json").write_text(json.dumps({"verdict": "The generated images help. +4 points"}))
    page = taildiff.gallery(out).read_text(encoding="utf-8")
    assert f"{lead} The generated images help. +4 points." in page


def test_a_filled_folder_without_its_store_shows_its_originals(filled: Path, store: Store):
    (filled.with_name("filled-info") / "fill.json").unlink()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(filled / "top" / "photo.png")
    page = taildiff.gallery(filled).read_text(encoding="utf-8")
    assert "name their store with --data" in page
    assert page.count('aria-label="Real top: photo.png"') == 1
    assert "Nearest training image" not in page
    assert call("gallery", filled, "--data", store.root) == 2


@pytest.mark.parametrize("damage", ["{", '{"file": null}', "[]", ""])
def test_a_damaged_manifest_names_its_line(filled: Path, damage: str):
    (filled.with_name("filled-info") / "manifest.jsonl").write_text(damage + "\n" if damage else "")
    with pytest.raises(DataError, match=r"line 1 is damaged|lists no image"):
        taildiff.gallery(filled)


def test_a_manifest_cannot_reach_other_files(filled: Path):
    manifest = filled.with_name("filled-info") / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("top/6.png", "../outside.png"))
    with pytest.raises(DataError, match="which is not in"):
        taildiff.gallery(filled)


def _photo(number: int, side: int = 256) -> np.ndarray:
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("per_class", "kept"), [(4, 4), (40, None)])
def test_a_page_stays_below_its_limit(per_class: int, kept: int | None):
    """Pictures shrink first; then images are left out, and the page says how many."""
    made = tuple(Generated(partial(_photo, k), f"{k}.png", nearest=k % 5, distance=1.0) for k in range(per_class))
    page = Gallery("many", "lead", (GalleryClass("a", 10, "", (1, 2), made),), _photo, str)
    limit = 120_000
    text = render(page, limit)
    assert len(text) <= limit
    shown = len(cards(text))
    assert shown == kept if kept else 1 < shown < per_class
    assert (f"{per_class - shown} more are left out" in text) == (shown < per_class)
    assert LARGEST_PAGE < 30_000_000
    if kept:
        assert fitted(page, limit)[1] < 256


def test_per_class_is_of_each_guidance():
    made = tuple(Generated(partial(_photo, k, 8), str(k), guidance=float(k % 2)) for k in range(10))
    page = Gallery("", "", (GalleryClass("a", 1, "", (), made),), _photo, str)
    assert [image.guidance for image in page.first(2).classes[0].generated] == [0, 0, 1, 1]


def in_browser(page: Path, address: str, folder: Path, *options: str) -> str:
    assert BROWSER
    command = [BROWSER, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}", *options]
    done = subprocess.run([*command, f"{page.as_uri()}{address}"], capture_output=True, text=True, timeout=120)
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser")
@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("", 3 * MADE),  # at the best guidance
        ("#guidance=", 2 * 3 * MADE),
        ("#guidance=1.0&group=tail", MADE),
        ("#verdict=copy", 3),
        ("#name=TOP", 2 * MADE),
        ("#verdict=copy&guidance=1.0", 0),
    ],
)
def test_the_filters_work_in_a_browser(run: RunDir, tmp_path: Path, address: str, seen: int):
    page = taildiff.gallery(run.root, out=tmp_path / "g.html")
    dom = in_browser(page, address, tmp_path / "profile", "--dump-dom")
    found = cards(dom)
    assert len(found) == 2 * 3 * MADE
    assert sum(' hidden=""' not in card.split(">")[0] for card in found) == seen
    assert f"{seen} of {2 * 3 * MADE} images" in dom or "output" in dom


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser")
def test_closest_first_orders_the_images_of_each_class(run: RunDir, tmp_path: Path):
    page = taildiff.gallery(run.root, out=tmp_path / "g.html")
    dom = in_browser(page, "#order=nearest", tmp_path / "profile", "--dump-dom")
    for section in re.findall("<section.*?</section>", dom, re.S):
        distances = [float(value) for value in re.findall('data-d="(.*?)"', section)]
        assert distances == sorted(distances)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser")
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(run: RunDir, tmp_path: Path, width: int):
    """The page in a frame of this width reports its own; headless Chromium has no window of 360 pixels."""
    page = taildiff.gallery(run.root, out=tmp_path / "g.html")
    check = "<script>parent.document.title = document.documentElement.scrollWidth</script></body>"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", check), encoding="utf-8")
    host = tmp_path / "host.html"
    host.write_text(f"<iframe src='g.html' style='width:{width}px;height:800px;border:0'></iframe>")
    dom = in_browser(host, "", tmp_path / "profile", "--dump-dom", "--allow-file-access-from-files")
    assert int(re.findall("<title>(.*?)</title>", dom)[0]) <= width
