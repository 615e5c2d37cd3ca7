"""`--out` of the verbs that write one file: what it may name, and that anything else stays as it was."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import taildiff
from cli.calls import call, said
from reporting.fake_runs import make_run
from taildiff.api import results
from taildiff.api.output import output_file
from taildiff.errors import InputError
from taildiff.run.layout import RunDir

SUFFIXES = (".csv", ".md", ".tex")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunDir, RunDir]:
    return make_run(tmp_path / "runs" / "a"), make_run(tmp_path / "runs" / "b", quality=1.0)


def content(root: Path) -> dict[str, bytes | str]:
    """Files with their content, and links with their target."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def folder(place: Path, name: str) -> Path:
    (place / name).mkdir()
    return place / name


def pipe(place: Path, name: str) -> Path:
    os.mkfifo(place / name)
    return place / name


def link(place: Path, name: str, target: Path) -> Path:
    (place / name).symlink_to(target)
    return place / name


def taken(place: Path, name: str) -> Path:
    (place / "file").write_text("mine")
    return place / "file" / name


def listening(place: Path, name: str) -> Path:
    before = Path.cwd()
    os.chdir(place)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
    os.chdir(before)
    return place / name


BAD: dict[str, tuple[Callable[[Path, RunDir, str], Path], str]] = {
    "run.json": (lambda _, run, __: run.spec, "--out must end in"),
    "log": (lambda _, run, __: run.metrics, "--out must end in"),
    "pdf": (lambda place, _, __: place / "page.pdf", "--out must end in"),
    "no suffix": (lambda place, _, __: place / "page", "--out must end in"),
    "device": (lambda _, __, ___: Path("/dev/null"), "is a device"),
    "link to a device": (
        lambda place, _, s: link(place, f"x{s}", Path("/dev/null")),
        "is a device",
    ),
    "link to run.json": (lambda place, run, s: link(place, f"x{s}", run.spec), "a link to"),
    "links in a circle": (lambda place, _, s: link(place, f"x{s}", place / f"x{s}"), "leads back to itself"),
    "pipe": (lambda place, _, s: pipe(place, f"x{s}"), "is a named pipe"),
    "socket": (lambda place, _, s: listening(place, f"x{s}"), "is a socket"),
    "folder": (lambda place, _, s: folder(place, f"x{s}"), "is a folder; name a file"),
    "under a file": (lambda place, _, s: taken(place, f"x{s}"), "cannot write"),
    "long": (lambda place, _, s: place / f"{'x' * 300}{s}", "File name too long"),
    "evaluation": (lambda _, run, s: next(run.evaluations()).root / f"table{s}", "lies in the evaluation"),
    "weights": (lambda _, run, s: run.weights_dir / f"new{s}", "lies in a folder of the run"),
    "cache": (lambda _, run, s: run.evals / ".cache" / f"new{s}", "lies in a folder of the run"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("verb", ["report", "compare"])
def test_what_may_not_be_written_is_refused_and_stays(
    runs: tuple[RunDir, RunDir], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, case: str
):
    make, message = BAD[case]
    out = make(tmp_path, runs[0], ".html" if verb == "report" else ".csv")
    before = content(tmp_path)
    assert call(verb, runs[0].root, runs[1].root, "--out", out) == 2
    text = said(capsys)
    assert message in text
    assert "error: " in text
    assert content(tmp_path) == before
    with pytest.raises((InputError, OSError), match=message):
        getattr(taildiff, verb)(runs[0].root, runs[1].root, out=out)


def test_a_store_and_latents_are_left_alone(tiny_store, tmp_path: Path):
    with pytest.raises(InputError, match="lies in the store"):
        output_file(tiny_store.root / "notes.md", SUFFIXES)
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents" / "latents.json").write_text("{}")
    with pytest.raises(InputError, match="lies in the latents"):
        output_file(tmp_path / "latents" / "notes.md", SUFFIXES)
    assert output_file(tmp_path / "notes.md", SUFFIXES) == tmp_path / "notes.md"


def test_files_of_the_user_are_replaced_and_links_followed(
    runs: tuple[RunDir, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a, b = runs
    target, shown = tmp_path / "real.HTML", tmp_path / "shown"
    target.write_text("before")
    link(tmp_path, "shown", target)
    for page in (a.report, a.root / "other.html", tmp_path / "new" / "page.html", shown):
        for _ in range(2):
            assert call("report", a.root, b.root, "--out", page) == 0
    assert shown.is_symlink()
    assert target.read_text().startswith("<!doctype html>")
    coming = link(tmp_path, "coming", tmp_path / "later" / "table.md")
    assert call("compare", a.root, b.root, "--out", coming) == 0
    assert "| Fréchet distance ↓ |" in (tmp_path / "later" / "table.md").read_text()
    assert call("compare", a.root, b.root, "--out", a.root / "comparison.tex") == 0


def test_the_default_page_follows_the_same_rule(
    runs: tuple[RunDir, RunDir], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    link(runs[0].root, "report.html", runs[0].spec)
    before = content(tmp_path)
    assert call("report", runs[0].root) == 2
    assert "a link to" in said(capsys)
    assert content(tmp_path) == before


def test_the_place_is_checked_before_the_work(
    runs: tuple[RunDir, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(results, "choose", lambda *_: pytest.fail("it began to work"))
    with pytest.raises(InputError):
        taildiff.compare(*(run.root for run in runs), out=tmp_path)


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.md").write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).is_dir())  # tests may run as root
    with pytest.raises(InputError, match=r"mine\.md is write-protected"):
        output_file(tmp_path / "mine.md", SUFFIXES)
    assert output_file(tmp_path / "new.md", SUFFIXES) == tmp_path / "new.md"


@pytest.mark.parametrize("name", ["images.png", "images", "evals/x.npz", "weights/x.npz"])
def test_sampled_images_in_one_file_need_its_suffix_and_place(
    runs: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str], name: str
):
    run, before = runs[0], content(runs[0].root)
    assert call("sample", run.root, "--format", "npz", "--guidance", 1, "--out", run.root / name) == 2
    assert ("must end in .npz" if "/" not in name else "lies in a folder of the run") in said(capsys)
    assert content(run.root) == before
