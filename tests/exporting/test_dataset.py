"""Stores written for other programs come back as they were."""

from pathlib import Path

import numpy as np
import pytest

import taildiff
from cli.calls import call, said
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.exporting import dataset

NAMES = ("a/b", "ant", "ζ")
IMPORTERS = {"imagefolder": "folder", "parquet": "parquet", "npz": "npz"}


@pytest.fixture(params=[True, False], ids=["held out", "all for training"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    labels = np.arange(24) % 3
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    test = np.arange(24) >= (18 if request.param else 24)
    with StoreWriter(tmp_path / "store", "toy", NAMES, (8, 8, 3), SourceMeta(source="toy")) as writer:
        writer.append(images, labels, test)
        return writer.close()


def content(store: Store, names: tuple[str, ...]) -> list[tuple[str, bool, bytes]]:
    rows = zip(store.labels.tolist(), store.test.tolist(), store.images, strict=True)
    return sorted((names[label], held_out, image.tobytes()) for label, held_out, image in rows)


@pytest.mark.parametrize("to", dataset.FORMATS)
def test_preparing_an_export_gives_the_store_again(
    store: Store, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    if to == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(dataset, "_SHARD_BYTES", 8 * 8 * 3 * 7)  # several files
    monkeypatch.setattr(dataset, "_ROWS", 5)
    assert call("data", "export", store.root, "--to", to) == 0
    text = said(capsys)
    assert f"24 images of 3 classes as {to}" in text
    out = dataset.default_out(store.root, to)  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.glob(".*"))
    again = taildiff.prepare(IMPORTERS[to], out, out=tmp_path / "again", size=8)
    folders = ("a_b", "ant", "ζ") if to == "imagefolder" else NAMES
    assert content(again, again.meta.class_names) == content(store, folders)
    if to == "parquet":
        assert again.meta.class_names == NAMES
        assert len(list(out.rglob("*.parquet"))) == 4
    assert call("data", "export", store.root, "--to", to) == 2
    assert "exists already" in said(capsys)


def test_datasets_reads_the_parquet_files(store: Store, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    out = taildiff.export_data(store, to="parquet", out=tmp_path / "out")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features["label"].names == list(NAMES)
    first = store.train_index[0]
    np.testing.assert_array_equal(np.asarray(loaded["train"][0]["image"]), store.images[first])
    assert len(loaded["train"]) == len(store.train_index)


def test_nothing_is_written_where_it_may_not_be(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call("data", "export", store.root, "--to", "npz", "--dry-run") == 0
    assert "Would write 24 images" in said(capsys)
    assert call("data", "export", store.root, "--to", "npz", "--out", tmp_path / "x.zip") == 2
    assert "must end in .npz" in said(capsys)
    assert call("data", "export", store.root, "--to", "imagefolder", "--out", store.root / "images") == 2
    assert "must not contain each other" in said(capsys)
    assert call("data", "export", tmp_path / "none", "--to", "npz") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
