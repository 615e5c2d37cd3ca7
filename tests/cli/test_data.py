"""`taildiff data` from its arguments to its output."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from taildiff.cli import data as verb
from taildiff.cli.common import console
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.errors import DataError, InputError


@pytest.fixture
def photos(tmp_path):
    """Classes [x] (30 images), cat (6), dog (2): the first name would be markup if not escaped."""
    random = np.random.default_rng(0)
    for name, count in (("[x]", 30), ("cat", 6), ("dog", 2)):
        (tmp_path / "my photos" / name).mkdir(parents=True)
        for k in range(count):
            pixels = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my photos" / name / f"{k}.png")
    return tmp_path / "my photos"


@pytest.fixture
def run(capsys, monkeypatch):
    """The output of a command, with all white space as single spaces."""
    monkeypatch.setattr(console, "width", 200)

    def words(*args):
        assert verb.main([str(arg) for arg in args]) == 0
        return re.sub(r"\s+", " ", capsys.readouterr().out)

    return words


def toy_store(path, counts, held_out=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"class{k}" for k in range(len(counts)))
    test = np.concatenate([np.arange(count) >= count - held_out for count in counts])
    with StoreWriter(path, "toy", names, (4, 4, 1), SourceMeta(source="here")) as writer:
        writer.append(np.zeros((len(labels), 4, 4, 1), np.uint8), labels, test)
        return writer.close()


def test_prepare_folder_and_show_it(run, photos, tmp_path):
    (photos / "cat" / "0.png").write_text("broken")
    out = tmp_path / "store"
    text = run("prepare", "folder", photos, "--out", out, "--size", 8)
    assert "skipped cat/0.png: not a JPEG, PNG, WebP, TIFF or BMP image" in text
    assert "Prepared: 37 images (1 broken skipped) of 3 classes, 8×8 colour, 0 held out" in text
    assert f"taildiff data show {out}" in text
    assert f"taildiff train auto-ccua --data {out} --out runs/first" in text
    assert Store.open(out).meta.shape == (37, 8, 8, 3)
    assert "Already prepared: 37 images" in run("prepare", "folder", photos, "--out", out, "--size", 8)
    assert "Prepared: 37" in run("prepare", "folder", photos, "--out", out, "--size", 9, "--overwrite")
    assert Store.open(out).meta.height == 9

    text = run("show", out)
    assert re.search(r"\[x\] 30 0 head medium █{30} cat 5 0 body few █{5} dog 2 0 tail few █{2} ", text)
    assert "Imbalance: 15.0 : 1 (30 to 2 images per class)" in text
    assert "No balanced reference; all real images are used" in text
    assert "No images are held out, so nothing can be tested on unseen ones: prepare them with --hold-out 0.2" in text
    assert "2 classes (cat, dog): fewer than 20 real images" in text
    assert text.rstrip().endswith(f"taildiff train auto-ccua --data {out} --out runs/first")


def test_parts_and_white_are_reachable_from_the_command_line(run, tmp_path):
    for part in ("fold1", "fold2"):
        for name in ("a", "b"):
            (tmp_path / "p" / part / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "p" / part / name / "x.png")
    words = ("prepare", "folder", tmp_path / "p", "--held-out", "fold2", "--size", 8, "--out", tmp_path / "store")
    text = run(*words)
    assert "use only 12 of them (up to 4,095 of 65,535), so they are dark; if 4095 is white" in text
    assert "2 classes, 8×8 grey, 2 held out" in text
    run(*words, "--white", 4095, "--strict", "--overwrite")
    assert (Store.open(tmp_path / "store").images == 255).all()
    assert "Already prepared: 4 images" in run(*words, "--white", 4095, "--dry-run")


def test_hold_out_from_the_command_line(run, photos, tmp_path):
    words = ("prepare", "folder", photos, "--out", tmp_path / "store", "--size", 8, "--hold-out", 0.2)
    assert "38 images (not opened yet) of 3 classes, 7 held out" in run(*words, "--dry-run")
    assert "7 held out, in" in run(*words)
    assert "--hold-out 0.2" not in run("show", tmp_path / "store")
    with pytest.raises(DataError, match="--overwrite"):
        run(*words, "--hold-out-seed", 1)
    with pytest.raises(DataError, match="between 0 and 1"):
        run(*words[:-1], 20)
    with pytest.raises(InputError, match="give --hold-out"):
        run(*words[:-2], "--hold-out-seed", 1)


def test_large_images_are_encoded_next(run, photos, tmp_path):
    text = run("prepare", "folder", photos, "--out", tmp_path / "store", "--size", 72)
    assert text.endswith(f"--vae stabilityai/sd-vae-ft-ema --out {tmp_path / 'store'}-latents ")


def test_show_a_folder_without_opening_its_images(run, photos):
    (photos / "cat" / "0.png").write_text("broken")
    text = run("show", photos)
    assert "38 image files (not opened yet), 3 classes" in text
    assert "thirds: head 1 class, 30 images; body 1 class, 6 images; tail 1 class, 2 images" in text
    assert f"taildiff data prepare folder '{photos}' --out 'data/my photos' --size 32 --hold-out 0.2" in text


def test_show_counts_exact_copies_of_files_and_of_a_store(run, photos, tmp_path):
    assert "No exact copies." in run("show", photos)
    for copy in ("copy of 0.png", "again.png"):
        (photos / "cat" / copy).write_bytes((photos / "cat" / "0.png").read_bytes())
    (photos / "dog" / "cat.png").write_bytes((photos / "cat" / "1.png").read_bytes())
    run("prepare", "folder", photos, "--out", tmp_path / "store", "--size", 8)
    for place in (photos, tmp_path / "store"):
        text = run("show", place)
        assert "Exact copies within a class: 2 training images (cat 6 different of 8)." in text
        assert "Exact copies in different classes: 2 images, such as cat/1.png = dog/cat.png; correct" in text


def test_show_a_cut(run, tmp_path):
    store = toy_store(tmp_path / "store", [40] * 5, held_out=10)
    text = run("show", store.root, "--tail", "exp", "--ratio", "0.1")
    assert "200 images, 5 classes, 4×4 grey; cut to 63 (exp, ratio 0.1)" in text
    assert "class0 30 10 head medium" in text
    assert "class4 3 10 tail few" in text
    assert "Imbalance: 10.0 : 1 (30 to 3 images per class)" in text
    assert "Balanced reference: all 150 training images" in text
    assert "4 classes (class1, class2, class3, class4): fewer than 20 training images" in text
    assert "--data.tail exp --data.ratio 0.1" in text
    assert "No images are held out" not in text


def test_a_cut_that_empties_a_class(run, tmp_path):
    store = toy_store(tmp_path / "store", [40] * 3)
    with pytest.raises(DataError, match="class 'class2' would keep no images"):
        verb.main(["show", str(store.root), "--tail", "exp", "--ratio", "0.001"])
    with pytest.raises(DataError, match=r"ratio 0\.0 is not in"):
        verb.main(["show", str(store.root), "--tail", "exp", "--ratio", "0"])
    text = run("show", store.root, "--tail", "exp", "--ratio", "0.001", "--min-per-class", 1)
    assert "--data.ratio 0.001 --data.min-per-class 1" in text


def test_a_thousand_classes_fit_on_a_screen(run, tmp_path, capsys):
    store = toy_store(tmp_path / "store", [2 + k // 100 for k in reversed(range(1000))])
    verb.main(["show", str(store.root)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 50
    assert any(line.startswith("… 970 more") for line in lines)
    assert any(line.startswith("class999") for line in lines)


def test_prepare_mnist5k(run, tmp_path):
    text = run("prepare", "mnist5k", "--out", tmp_path / "mnist")
    assert "Prepared: 5,000 images of 10 classes, 28×28 grey, 1,000 held out" in text
    assert "cut to 988" in run("show", tmp_path / "mnist", "--tail", "exp")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["shwo", "x"], "unknown verb of `taildiff data` 'shwo': did you mean 'show'"),
        (["prepare", "foldr", "x", "--out", "y"], "unknown importer 'foldr': did you mean 'folder'"),
        (["prepare", "folder", "--out", "y"], "folder needs a SOURCE, a folder"),
        (["prepare", "mnist5k", "x", "--out", "y"], "takes no SOURCE"),
        (["prepare", "mnist5k", "--out", "y", "--size", "0"], "at least 4 pixels"),
        (["show", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_explained(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        verb.main(args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["prepare", "mnist5k", "--outt", "x"], "unknown option '--outt': did you mean --out?"),
        (["show", "x", "--tail", "expo"], "--tail: unknown value 'expo': did you mean 'exp'?"),
    ],
)
def test_misspelt_options_and_choices_get_the_nearest(args, message):
    with pytest.raises(InputError, match=re.escape(message)):
        verb.main(args)


@pytest.mark.parametrize("args", [["prepare"], ["show"]])
def test_wrong_options_exit_with_2(args, capsys):
    with pytest.raises(SystemExit) as caught:
        verb.main(args)
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_help_and_no_verb(capsys):
    assert verb.main(["--help"]) == 0
    assert verb.main([]) == 2
    assert "prepare IMPORTER" in capsys.readouterr().out


def test_nothing_heavy_is_imported():
    code = "import sys, taildiff.cli.data; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    code = (
        "import sys, taildiff.data.prepare, taildiff.data.order, taildiff.data.longtail; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
