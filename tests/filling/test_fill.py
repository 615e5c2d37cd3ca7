"""Filling a folder: its layout, its manifest, what is refused, and that a kill at any moment changes nothing."""

import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filling.made import QUICK, Filling, content
from taildiff.errors import InputError
from taildiff.filling.manifest import read_counts, summary_of
from taildiff.filling.request import Amounts
from taildiff.sampling.folders import info_of

COUNTS = {"cat": 14, "dog": 10, "owl": 7}
FIELDS = {
    "file",
    "class",
    "label",
    "seed",
    "rank",
    "guidance",
    "run",
    "step",
    "weights",
    "verdict",
    "rejected_by",
    "scores",
}


@pytest.fixture(scope="module")
def filling(tmp_path_factory: pytest.TempPathFactory) -> Filling:
    return Filling(tmp_path_factory.mktemp("filling"), COUNTS)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (info_of(out) / "manifest.jsonl").read_text().splitlines()]


def test_the_folder_holds_links_and_new_images_and_the_manifest_every_draw(filling: Filling, tmp_path: Path):
    out = tmp_path / "filled"
    assert filling.into(out, keep_rejected=True)
    counts = read_counts(out)
    assert {name: (c.training, c.asked) for name, c in counts.items()} == {"dog": (8, 1), "owl": (6, 3)}
    assert sorted(path.name for path in out.iterdir()) == ["cat", "dog", "owl"]
    assert {path.name for path in tmp_path.iterdir()} == {"filled", "filled-info"}
    drawn = lines(out)
    for name, c in counts.items():
        own = [line for line in drawn if line["class"] == name]
        assert [line["rank"] for line in own] == list(range(c.drawn))
        assert sum(line["verdict"] == "admitted" for line in own) == c.admitted == c.asked - c.missing
        first = [line["rejected_by"][0] for line in own if line["rejected_by"]]
        assert {each: first.count(each) for each in c.rejected} == c.rejected
        files = [path for path in (out / name).iterdir() if path.name.startswith("generated-")]
        assert {f"{name}/{path.name}" for path in files} == {line["file"] for line in own if not line["rejected_by"]}
        originals = [path for path in (out / name).iterdir() if path not in files]
        assert len(originals) == c.training
        assert all(path.is_symlink() and path.resolve().parent.name == name for path in originals)
    for line in drawn:
        assert line.keys() == FIELDS
        assert (line["run"], line["step"], line["seed"]) == ("run", 5, 0)
        assert line["weights"] == filling.model.weights_hash
        root = out if line["verdict"] == "admitted" else info_of(out)
        with Image.open(root / line["file"]) as image:
            assert image.size == (8, 8)
            assert "trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
        near = line["scores"]["nearest"]
        assert filling.store.names is not None
        assert near["name"] == filling.store.names[near["index"]]
    before = content(out, info_of(out))
    assert not filling.into(out, keep_rejected=True)
    assert content(out, info_of(out)) == before
    with pytest.raises(InputError, match="another request, model or filter"):
        filling.into(out, keep_rejected=False)
    assert content(out, info_of(out)) == before


def test_what_is_held_out_stays_out_but_of_the_split_layout(filling: Filling, tmp_path: Path):
    filling.into(tmp_path / "split", layout="split", originals="resized")
    held_out = np.bincount(filling.store.labels[filling.store.test], minlength=3).tolist()
    for label, name in enumerate(COUNTS):
        test, train = tmp_path / "split" / "test" / name, tmp_path / "split" / "train" / name
        assert len(list(test.iterdir())) == held_out[label]
        originals = [path for path in train.iterdir() if not path.name.startswith("generated-")]
        assert len(originals) == filling.store.facts.counts[label]
        with Image.open(originals[0]) as image:
            assert image.size == (8, 8)
    filling.into(tmp_path / "new", originals="none")
    assert all(path.name.startswith("generated-") for path in (tmp_path / "new").rglob("*.png"))
    assert summary_of(tmp_path / "new")["original_size"] == [16, 16]
    filling.into(tmp_path / "copied", originals="copy")
    (copy,) = (tmp_path / "copied" / "cat").glob("[0-9]*0.png")
    assert not copy.is_symlink()
    with Image.open(copy) as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize("layout", ["classes", "split"])
def test_datasets_reads_the_folder_with_its_labels(filling: Filling, tmp_path: Path, layout: str):
    datasets = pytest.importorskip("datasets")
    out, store = tmp_path / "filled", filling.store
    filling.into(out, layout=layout)
    admitted = {name: counts.admitted for name, counts in read_counts(out).items()}
    assert all(admitted.values())
    expected = {"train": {name: n + admitted.get(name, 0) for name, n in zip(COUNTS, store.facts.counts, strict=True)}}
    if layout == "split":
        held_out = np.bincount(store.labels[store.test], minlength=3).tolist()
        expected["test"] = dict(zip(COUNTS, held_out, strict=True))
    loaded = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"))
    names = loaded["train"].features["label"].names
    found = {split: Counter(names[label] for label in part["label"]) for split, part in loaded.items()}
    assert found == expected
    for part in loaded.values():
        for path, label in zip(part.data.column("image").to_pylist(), part["label"], strict=True):
            assert Path(path["path"]).parent.name == names[label]


def test_a_class_that_cannot_be_filled_stops_at_ten_times_what_was_asked(filling: Filling, tmp_path: Path):
    from taildiff.filling.fill import reasons

    filling.into(tmp_path / "out", least=1.1, amounts=Amounts(counts={"owl": 9}))
    (counts,) = read_counts(tmp_path / "out").values()
    assert (counts.asked, counts.drawn, counts.admitted, counts.missing) == (3, 30, 0, 3)
    assert sum(counts.rejected.values()) == 30
    (reason,) = reasons("owl", counts)
    assert reason.startswith("owl: 3 of 3 are missing after 30 draws:")
    assert "did not look like the class" in reason


def test_guidance_of_a_class_is_recorded(filling: Filling, tmp_path: Path):
    own = QUICK.model_copy(update={"guidance_by_class": (("owl", 3.0),)})
    filling.into(tmp_path / "out", sampling=own)
    assert {(line["class"], line["guidance"]) for line in lines(tmp_path / "out")} == {("dog", 1.0), ("owl", 3.0)}


def test_other_folders_are_left_alone(filling: Filling, tmp_path: Path):
    for name in ("full", "full-info"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a filled folder"):
        filling.into(tmp_path / "full")
    shutil.rmtree(tmp_path / "full")
    with pytest.raises(InputError, match="is not of a fill"):
        filling.into(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert filling.into(tmp_path / "empty")


def test_a_class_of_fewer_than_five_images_needs_force(tmp_path: Path):
    filling = Filling(tmp_path, {"cat": 12, "owl": 4})
    with pytest.raises(InputError, match=r"fewer than 5 training images: owl \(4\).*--force"):
        filling.job(tmp_path / "out")
    assert filling.job(tmp_path / "out", force=True).asked == (0, 5)


def _killed_at(event: int, act) -> bool:
    """Whether `act` was ended, as by SIGKILL, before its `event`-th change of the file system."""
    child = os.fork()
    if child == 0:
        left = event

        def before(function):
            def wrapped(*args, **kwargs):
                nonlocal left
                if not left:
                    os._exit(9)
                left -= 1
                return function(*args, **kwargs)

            return wrapped

        for name in ("mkdir", "write_bytes", "symlink_to", "rename", "replace", "unlink"):
            setattr(Path, name, before(getattr(Path, name)))
        shutil.rmtree = before(shutil.rmtree)
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_fill_killed_at_any_moment_gives_the_same_folder(filling: Filling, tmp_path: Path, moments: int):
    def into(name: str) -> dict[str, str]:
        out = tmp_path / name / "filled"
        out.parent.mkdir(exist_ok=True)
        filling.into(out, keep_rejected=True)
        assert {path.name for path in out.parent.iterdir()} == {"filled", "filled-info"}
        return content(out, info_of(out))

    whole, killed = into("whole"), 0
    for event in random.Random(0).sample(range(75), moments):
        (tmp_path / str(event)).mkdir()
        out = tmp_path / str(event) / "filled"
        killed += _killed_at(event, lambda out=out: filling.into(out, keep_rejected=True))
        assert into(str(event)) == whole
    assert killed >= 0.75 * moments
