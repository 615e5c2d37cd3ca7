"""`taildiff data prepare` of each format, and its options."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taildiff.cli import data as verb
from taildiff.cli.common import console
from taildiff.data.formats import importers
from taildiff.data.formats.published import Cut
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.evaluation.scopes import reference_index

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import sources  # the writers of small published formats


@pytest.fixture
def run(capsys, monkeypatch):
    """The output of a command, with all white space as single spaces."""
    monkeypatch.setattr(console, "width", 200)

    def words(*args):
        assert verb.main([str(arg) for arg in args]) == 0
        return re.sub(r"\s+", " ", capsys.readouterr().out)

    return words


@pytest.fixture
def places(tmp_path):
    """A small source for each importer that needs no extra."""
    sources.mnist(tmp_path / "mnist")
    sources.cifar10(tmp_path / "cifar10")
    sources.cifar100(tmp_path / "cifar100")
    np.savez(tmp_path / "npz.npz", images=sources.pixels(12, 8, 8), labels=np.arange(12) % 3)
    for k, name in enumerate(("a.png", "b.png", "c.png")):
        Image.fromarray(sources.pixels(1, 8, 8, seed=k)[0]).save(tmp_path / name)
    (tmp_path / "csv.csv").write_text("path,label\na.png,x\nb.png,y\nc.png,x\n")
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\nc.png 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("importer", "source", "said"),
    [
        ("mnist", "mnist", "40 images of 3 classes, 5×5 grey, 10 held out"),
        ("cifar10", "cifar10", "120 images of 10 classes, 32×32 colour, 20 held out"),
        ("cifar100", "cifar100", "300 images of 100 classes, 32×32 colour, 100 held out"),
        ("npz", "npz.npz", "12 images of 3 classes, 8×8 grey, 0 held out"),
        ("csv", "csv.csv", "3 images of 2 classes, 32×32 grey, 0 held out"),
        ("list", "list.txt", "3 images of 2 classes, 32×32 grey, 0 held out"),
    ],
)
def test_each_importer_from_plan_to_store(run, places, importer, source, said):
    words = ("prepare", importer, places / source, "--out", places / "store")
    plan = run(*words, "--dry-run")
    assert plan.startswith(f"Would prepare: {said.split()[0]} images")
    assert not (places / "store").exists()
    assert f"Prepared: {said}" in run(*words)
    assert f"Already prepared: {said}" in run(*words)
    assert run(*words, "--dry-run").startswith("Already prepared")
    assert Store.open(places / "store").meta.source.source == str((places / source).resolve())


def test_options_of_importers(run, places):
    coarse = run("prepare", "cifar100", places / "cifar100", "--out", places / "s", "--labels", "coarse")
    assert "300 images of 20 classes" in coarse
    (places / "names.txt").write_text("x\ny\n")
    (places / "held.txt").write_text("c.png 1\n")
    (places / "list.txt").write_text("a.png 0\nb.png 1\n")
    words = ("--test", places / "held.txt", "--names", places / "names.txt", "--root", places, "--size", 8)
    assert "8×8 grey, 1 held out" in run("prepare", "list", places / "list.txt", "--out", places / "l", *words)
    assert Store.open(places / "l").meta.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mnist", "x", "--labels", "coarse"], "--labels is for cifar100, not mnist"),
        (["csv", "x", "--names", "n"], "--names is for list, npz and mnist, not csv"),
        (["folder", "x", "--image-column", "n"], "--image-column is for parquet and hf, not folder"),
        (["cifar10", "x", "--test", "n"], "--test is for folder, list and imagenet, not cifar10"),
        (["cifar10", "x", "--partial"], "--partial is for tinyimagenet, imagenet, places365 and inaturalist2018, not"),
        (["folder", "x", "--expect", "places-lt"], "--expect is for list, not folder"),
        (
            ["imagenet"],
            r"imagenet needs a SOURCE(.|\n)*image-net\.org(.|\n)*Expected in SOURCE(.|\n)*LOC_val_solution\.csv",
        ),
        (["places365", "nowhere"], r"nowhere does not exist(.|\n)*places365standard_easyformat\.tar"),
        (
            ["cifar10"],
            r"cifar10 needs a SOURCE, a folder or \.tar\.gz:\ntaildiff data prepare cifar10 SOURCE --out STORE$",
        ),
        (["mnst", "x"], "did you mean 'mnist'"),
        (["npz", "nowhere"], "nowhere does not exist"),
    ],
)
def test_wrong_options_and_sources(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        verb.main(["prepare", *words, "--out", "store"])
    assert not list(tmp_path.iterdir())


def test_help_lists_every_importer_and_groups_the_options(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit):
        verb.main(["prepare", "--help"])
    text = capsys.readouterr().out
    for importer in importers().values():
        assert f"\n  {importer.name:<17}{importer.source or '-':<21}{importer.help}\n" in text
    common, specific = (" ".join(part.split()) for part in text.split("importer options"))
    assert "--size" in common
    assert "--root FOLDER" not in common
    assert re.search(r"--root FOLDER csv, list: Folder that paths", specific)
    assert re.search(r"--test PLACE folder: Held-out images .* list: A second list", specific)


def test_help_of_one_importer(capsys):
    with pytest.raises(SystemExit):
        verb.main(["prepare", "cifar100", "--help"])
    text = capsys.readouterr().out
    assert "taildiff data prepare cifar100 SOURCE --out STORE [--labels fine|coarse]" in text
    assert "The 100 fine classes" in text
    assert "--root" not in text
    assert "places365" not in text


def test_an_importer_alone_is_explained():
    with pytest.raises(
        InputError,
        match=r"tinyimagenet needs a SOURCE, a folder(.|\n)*\[--partial\]\nTiny ImageNet: tiny-imagenet-200\.zip",
    ):
        verb.main(["prepare", "tinyimagenet"])


def test_notes_are_printed(run, places):
    text = run("prepare", "cifar10", places / "cifar10", "--out", places / "s")
    assert "120 images; the published CIFAR has 50,000 and 10,000" in text


def test_ctrl_c_logs_how_to_resume(places, monkeypatch, caplog):
    from taildiff.data import prepare
    from taildiff.io import resumable_array

    monkeypatch.setattr(resumable_array, "SHARD_BYTES", 64 * 32 * 32 * 3)
    monkeypatch.setattr(prepare.StoreWriter, "close", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    words = ["prepare", "cifar10", str(places / "cifar10"), "--out", str(places / "s")]
    with caplog.at_level("INFO", "taildiff"), pytest.raises(KeyboardInterrupt):
        verb.main(words)
    assert "Stopped; rerun the same command to resume. To give up, remove" in caplog.text
    monkeypatch.undo()
    assert verb.main(words) == 0


def test_show_a_step_and_a_list(run, places):
    run("prepare", "csv", places / "csv.csv", "--out", places / "store")
    text = run("show", places / "store", "--tail", "step", "--ratio", "0.7")
    assert "cut to 2 (step, ratio 0.7)" in text
    assert "--data.tail step --data.ratio 0.7 --data.step-share 0.5" in text
    (places / "some.txt").write_text("a.png 0\nb.png 1\n")
    text = run("show", places / "store", "--tail", "list", "--list", places / "some.txt")
    assert f"cut to 2 (list, {places / 'some.txt'})" in text
    assert f"--data.tail list --data.list {places / 'some.txt'}" in text
    for words in (["--tail", "list"], ["--list", "x"]):
        with pytest.raises(InputError, match="give --tail list and --list FILE together"):
            verb.main(["show", str(places / "store"), *words])


@pytest.mark.parametrize(
    ("importer", "fill", "said"),
    [
        ("tinyimagenet", sources.tinyimagenet, "9 images of 3 classes, 64×64 colour, 3 held out"),
        ("inaturalist2018", sources.inaturalist, "12 images of 3 classes, 64×64 colour, 3 held out"),
    ],
)
def test_an_incomplete_published_dataset(run, tmp_path, importer, fill, said):
    fill(tmp_path / "source")
    words = ("prepare", importer, tmp_path / "source", "--out", tmp_path / "store")
    with pytest.raises(InputError, match=r"has 3 classes, .* as published has .*--partial"):
        verb.main([str(word) for word in words])
    assert not (tmp_path / "store").exists()
    plan = run(*words, "--partial", "--dry-run")
    assert plan.startswith(f"Would prepare: {said.split()[0]} images")
    assert "incomplete, or another version: 3 classes" in plan
    done = run(*words, "--partial")
    assert f"Prepared: {said}" in done
    assert "incomplete, or another version: 3 classes" in done
    assert f"Already prepared: {said}" in run(*words, "--partial")
    assert "3 classes" in run("show", tmp_path / "store", "--verify")


def test_an_incomplete_imagenet_with_its_labels_in_another_file(run, tmp_path):
    truth = sources.imagenet(tmp_path / "source")
    (tmp_path / "labels.txt").write_text("".join(f"{name} {wnid}\n" for name, wnid in truth.items()))
    words = ("--out", tmp_path / "store", "--test", tmp_path / "labels.txt", "--partial", "--size", 8)
    assert "9 images of 3 classes, 8×8 colour, 3 held out" in run("prepare", "imagenet", tmp_path / "source", *words)


def test_a_list_that_is_not_the_published_one(run, places):
    words = ["prepare", "list", str(places / "list.txt"), "--out", str(places / "s"), "--expect", "imagenet-lt"]
    with pytest.raises(InputError, match=r"list\.txt is not the list of ImageNet-LT: it has 3 images of 2 classes"):
        verb.main(words)


def test_show_recognises_a_published_list(run, places, monkeypatch):
    published = {"toy-lt": Cut("Toy-LT", 2, 3, 2, 1, ())}
    monkeypatch.setattr("taildiff.data.formats.published.CUTS", published)
    store = places / "store"
    run("prepare", "list", places / "list.txt", "--out", store)
    text = run("show", store, "--tail", "list", "--list", places / "list.txt")
    assert "These are the published counts of Toy-LT: 3 images of 2 classes, 2 to 1 per class." in text
    (places / "some.txt").write_text("a.png 0\nb.png 1\n")
    text = run("show", store, "--tail", "list", "--list", places / "some.txt")
    assert "This is not the list of Toy-LT, which has 3 images of 2 classes" in text
    assert "Toy-LT" not in run("show", store)


def test_the_reference_of_a_listed_cut_is_the_whole_store(run, tmp_path):
    """As even as ImageNet, with 1,300 to 732 images per class: it counts as balanced, whatever the cut."""
    lines = [f"{k}/{i}.png {k}" for k, count in enumerate((39, 22, 30)) for i in range(count)]
    for k, line in enumerate(lines):
        sources.jpeg(tmp_path / line.split()[0], k, kind="PNG")
    (tmp_path / "all.txt").write_text("\n".join(lines))
    run("prepare", "list", tmp_path / "all.txt", "--out", tmp_path / "s", "--size", 8)
    (tmp_path / "lt.txt").write_text("\n".join([*lines[:30], *lines[39:44], *lines[61:62]]))
    text = run("show", tmp_path / "s", "--tail", "list", "--list", tmp_path / "lt.txt")
    assert "cut to 36" in text
    assert "Balanced reference: all 91 training images, 22 or more per class" in text
    assert not reference_index(Store.open(tmp_path / "s"), "train").note
    assert len(reference_index(Store.open(tmp_path / "s"), "train").index) == 3 * 22
