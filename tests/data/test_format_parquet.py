"""Parquet files and saved datasets, and the error without the extra."""

import builtins
import io

import numpy as np
import pytest
import sources
from PIL import Image

from taildiff.data import prepare
from taildiff.data.formats import parquet
from taildiff.data.formats.parquet import ColumnNames, find_hf, find_parquet
from taildiff.data.images import decode
from taildiff.errors import DataError

PIXELS = sources.pixels(30, 8, 8, 3)
LABELS = (np.arange(30) % 3).tolist()


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FILES = [encoded(pixels) for pixels in PIXELS]


@pytest.mark.parametrize("find", [find_parquet, find_hf])
def test_the_error_without_the_extra_says_how_to_install_it(tmp_path, find, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.split(".")[0] in ("pyarrow", "datasets"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"is not installed: pip install 'taildiff\[hf\]'"):
        find(tmp_path)


def test_columns_are_found_or_must_be_given(tmp_path):
    assert ColumnNames().pick(tmp_path, ["id", "label", "img"]) == ("img", "label")
    assert ColumnNames("id", "img").pick(tmp_path, ["id", "label", "img"]) == ("id", "img")
    with pytest.raises(DataError, match=r"no column has a usual name; give --label-column\. Columns: image, y"):
        ColumnNames().pick(tmp_path, ["image", "y"])
    with pytest.raises(DataError, match=r"no column 'x'\. Columns: image, y"):
        ColumnNames("x").pick(tmp_path, ["image", "y"])


@pytest.fixture
def arrow():
    return pytest.importorskip("pyarrow")


def write(arrow, path, rows=slice(None), images=FILES, labels=LABELS, names=("image", "label"), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.table({names[0]: images[rows], names[1]: labels[rows]})
    __import__("pyarrow.parquet", fromlist=["_"]).write_table(table, path, row_group_size=7, **options)
    return path


def test_files_of_bytes_and_their_splits(tmp_path, arrow):
    for name, rows in (("train-00000-of-00002", slice(0, 11)), ("train-00001-of-00002", slice(11, 24))):
        write(arrow, tmp_path / "p" / "data" / f"{name}.parquet", rows)
    write(arrow, tmp_path / "p" / "data" / "test-00000-of-00001.parquet", slice(24, 30))
    found = find_parquet(tmp_path / "p")
    store = prepare.prepare(found, tmp_path / "store", 8)
    np.testing.assert_array_equal(store.images, PIXELS)
    np.testing.assert_array_equal(store.labels, LABELS)
    np.testing.assert_array_equal(store.test, np.arange(30) >= 24)
    assert store.meta.class_names == ("0", "1", "2")
    source = found.read()
    for start in (0, 6, 7, 8, 11, 12, 23, 24, 29, 30):
        rest = [decode(raw, 8, 3) for raw in source.pictures(start) if isinstance(raw, bytes)]
        np.testing.assert_array_equal(np.array(rest).reshape(-1, 8, 8, 3), PIXELS[start:])


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        (("train-0", "validation-0", "test-0"), "test,validation"),
        (("Training/a", "val/a"), "val"),
        (("train/a", "test/a"), ""),
        (("x", "y"), ""),
    ],
)
def test_every_part_but_training_is_held_out(tmp_path, arrow, names, held_out):
    for name in names:
        write(arrow, tmp_path / "p" / f"{name}.parquet")
    found = find_parquet(tmp_path / "p")
    assert found.options == (f"held-out={held_out}" if held_out else "")
    expected = 0 if names == ("x", "y") else 30 * (len(names) - 1)
    np.testing.assert_array_equal(found.read().test, np.arange(30 * len(names)) >= 30 * len(names) - expected)


def test_files_may_name_the_column_of_images_differently(tmp_path, arrow):
    write(arrow, tmp_path / "p" / "a.parquet", slice(0, 20), names=("image", "label"))
    write(arrow, tmp_path / "p" / "b.parquet", slice(20, 30), names=("img", "target"))
    store = prepare.prepare(find_parquet(tmp_path / "p"), tmp_path / "store", 8)
    np.testing.assert_array_equal(store.images, PIXELS)
    np.testing.assert_array_equal(store.labels, LABELS)


def test_structs_text_labels_and_broken_rows(tmp_path, arrow):
    images = [{"bytes": data, "path": f"{k}.png"} for k, data in enumerate(FILES)]
    images[4] = {"bytes": None, "path": "elsewhere.png"}
    images[9] = {"bytes": b"broken", "path": None}
    labels = [("cat", "ant", "bee")[label] for label in LABELS]
    place = write(arrow, tmp_path / "a.parquet", images=images, labels=labels, names=("picture", "kind"))
    store = prepare.prepare(find_parquet(place, "picture", "kind"), tmp_path / "store", 8)
    assert store.meta.class_names == ("ant", "bee", "cat")
    assert (store.meta.count, store.meta.skipped) == (28, 2)
    assert store.meta.skipped_names[0].startswith("image 4: ")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (["x"] * 30, LABELS, "column 'image' has the type string; encoded image files"),
        (FILES, [0.5] * 30, "labels must be integers or text in every row; found float"),
        (FILES, [0] * 29 + [None], "found int, nothing"),
        (FILES, [0] * 30, "only the class '0'"),
    ],
)
def test_unusable_columns(tmp_path, arrow, images, labels, message):
    place = write(arrow, tmp_path / "a.parquet", images=images, labels=labels)
    with pytest.raises(DataError, match=message):
        prepare.prepare(find_parquet(place), tmp_path / "store", 8)


def test_damaged_parquet(tmp_path, arrow):
    place = write(arrow, tmp_path / "a.parquet", compression=None)
    whole = place.read_bytes()
    place.write_bytes(whole[:-50])
    with pytest.raises(DataError, match=r"a\.parquet is damaged or not a parquet file"):
        prepare.prepare(find_parquet(place), tmp_path / "store", 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no parquet files"):
        find_parquet(tmp_path / "empty")


def saved_part(datasets, features, files, labels):
    """`Dataset.from_dict` with a fingerprint of ours: some versions of dill cannot make one."""
    rows = {"image": [{"bytes": data, "path": None} for data in files], "label": labels}
    table = datasets.table.InMemoryTable.from_pydict(rows, schema=features.arrow_schema)
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=str(len(files)))


@pytest.mark.parametrize("dictionary", [False, True])
def test_saved_datasets(tmp_path, dictionary):
    datasets = pytest.importorskip("datasets")
    names = ["zebra", "ant", "bee"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})

    def part(rows):
        return saved_part(datasets, features, FILES[rows], LABELS[rows])

    saved = part(slice(None))
    if dictionary:
        saved = datasets.DatasetDict(train=part(slice(0, 24)), test=part(slice(24, 30)))
    saved.save_to_disk(str(tmp_path / "saved"))
    found = find_hf(tmp_path / "saved")
    store = prepare.prepare(found, tmp_path / "store", 8)
    np.testing.assert_array_equal(store.images, PIXELS)
    np.testing.assert_array_equal(store.labels, LABELS)
    np.testing.assert_array_equal(store.test, np.arange(30) >= (24 if dictionary else 30))
    assert store.meta.class_names == tuple(names)
    rest = [decode(raw, 8, 3) for raw in found.read().pictures(20) if isinstance(raw, bytes)]
    np.testing.assert_array_equal(np.array(rest), PIXELS[20:])
    assert prepare.prepare(find_hf(tmp_path / "saved"), tmp_path / "store", 8).meta == store.meta
    if dictionary:
        saved["train"].to_parquet(str(tmp_path / "t" / "train.parquet"))
        table = prepare.prepare(find_parquet(tmp_path / "t"), tmp_path / "again", 8)
        assert table.meta.class_names == tuple(names)
        np.testing.assert_array_equal(table.images, PIXELS[:24])


def test_splits_of_other_names_are_reported(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    part = saved_part(datasets, features, FILES[:6], LABELS[:6])
    datasets.DatasetDict(validation=part, train=part, extra=part).save_to_disk(str(tmp_path / "saved"))
    found = find_hf(tmp_path / "saved")
    assert found.options == "held-out=validation"
    source = found.read()
    np.testing.assert_array_equal(source.test, np.arange(12) >= 6)
    assert source.strict_notes[0].startswith("skipped 'extra': only splits called train, validation or test are read")


def test_folders_that_are_no_saved_dataset(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(
        DataError, match="not written by save_to_disk; for parquet files: taildiff data prepare parquet"
    ):
        find_hf(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a saved dataset"):
        find_hf(tmp_path).read()
    assert parquet.needs("datasets")
