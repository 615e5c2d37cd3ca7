"""A store is complete or rejected, and a failed preparation leaves the old one unchanged."""

import json

import numpy as np
import pytest

from taildiff.data.store import SourceMeta, Store, StoreWriter, prepared_before
from taildiff.errors import DataError

SOURCE = SourceMeta(source="here", options="size=5", fingerprint="f")


def arrays(n=12, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, 5, 6, 3), dtype=np.uint8)
    return images, np.arange(n) % 2, np.arange(n) >= n - 4


def write(out, pieces=1, seed=0, class_names=("cat", "dög"), n=12, source=SOURCE):
    images, labels, test = arrays(n, seed)
    with StoreWriter(out, "toy", class_names, (5, 6, 3), source) as writer:
        for part in np.array_split(np.arange(n), pieces):
            writer.append(images[part], labels[part], test[part])
        return writer.close(tuple(f"{k}.png: broken" for k in range(30)))


def test_what_was_written_is_read(tmp_path):
    write(tmp_path / "deep" / "store", pieces=5)
    store = Store.open(str(tmp_path / "deep" / "store"))
    images, labels, test = arrays()
    assert isinstance(store.images, np.memmap)
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.labels, labels)
    np.testing.assert_array_equal(store.test, test)
    np.testing.assert_array_equal(store.train_index, np.arange(8))
    np.testing.assert_array_equal(store.test_index, np.arange(8, 12))
    assert (store.images.dtype, store.labels.dtype, store.test.dtype) == (np.uint8, np.int64, np.bool_)
    assert store.meta.skipped == 30
    assert len(store.meta.skipped_names) == 20
    facts = store.facts
    assert (facts.height, facts.width, facts.channels, facts.name) == (5, 6, 3, "toy")
    assert (facts.class_names, facts.counts) == (("cat", "dög"), (4, 4))
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["store"]
    assert sorted(path.name for path in store.root.iterdir()) == ["images.npy", "labels.npy", "store.json", "test.npy"]


def test_the_hash_is_of_the_content_alone(tmp_path):
    plain = write(tmp_path / "a").meta.hash
    assert write(tmp_path / "b", pieces=7, source=SourceMeta(source="elsewhere")).meta.hash == plain
    assert write(tmp_path / "c", seed=1).meta.hash != plain
    assert write(tmp_path / "d", class_names=("cat", "dog")).meta.hash != plain


def test_numpy_reads_large_counts_behind_the_same_header(tmp_path):
    """The header is written twice, first for 0 images; it must have room for any number."""
    with StoreWriter(tmp_path / "s", "toy", ("a", "b"), (1, 1, 1), SOURCE) as writer:
        n = 1_234_567
        writer.append(np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, np.int64), np.zeros(n, np.bool_))
        assert writer.close().images.shape == (n, 1, 1, 1)


@pytest.mark.parametrize("old", [False, True])
def test_a_failure_leaves_nothing_new_and_the_old_store(tmp_path, old):
    if old:
        before = write(tmp_path / "store").meta.hash
    images, labels, test = arrays(seed=1)

    def fail():
        with StoreWriter(tmp_path / "store", "toy", ("a", "b"), (5, 6, 3), SOURCE) as writer:
            writer.append(images, labels, test)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["store"] * old
    assert not old or Store.open(tmp_path / "store").meta.hash == before


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("taildiff.io.resumable_array.os.fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*store: .*No space left"):
        write(tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_overwriting_replaces_everything(tmp_path):
    old = write(tmp_path / "store")
    old.cache_dir.mkdir()
    new = write(tmp_path / "store", seed=1)
    assert new.meta.hash != old.meta.hash
    assert not new.cache_dir.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def _cut_off(path):
    path.write_bytes(path.read_bytes()[:-7])


DAMAGE = {
    "images cut off": (lambda root: _cut_off(root / "images.npy"), r"images\.npy is damaged or cut off"),
    "images empty": (lambda root: (root / "images.npy").write_bytes(b""), r"images\.npy is damaged or cut off"),
    "labels cut off": (lambda root: _cut_off(root / "labels.npy"), r"labels\.npy is damaged or cut off"),
    "no numpy file": (lambda root: (root / "test.npy").write_text("x" * 300), r"test\.npy is damaged or cut off"),
    "missing": (lambda root: (root / "labels.npy").unlink(), r"labels\.npy is missing"),
    "wrong shape": (
        lambda root: np.save(root / "images.npy", np.zeros((12, 6, 5, 3), np.uint8)),
        r"images\.npy holds uint8 \(12, 6, 5, 3\)",
    ),
    "wrong type": (lambda root: np.save(root / "labels.npy", np.zeros(12, np.int32)), r"labels\.npy holds int32"),
    "pickled": (
        lambda root: np.save(root / "labels.npy", np.array([{}] * 12), allow_pickle=True),
        r"labels\.npy is damaged",
    ),
    "label too large": (lambda root: np.save(root / "labels.npy", np.arange(12)), r"labels 0\.\.11, but there are 2"),
    "label negative": (lambda root: np.save(root / "labels.npy", np.arange(12) - 11), r"labels -11\.\.0"),
    "no json": (lambda root: (root / "store.json").write_text("{"), "not readable JSON"),
    "json of another kind": (lambda root: (root / "store.json").write_text("[]"), "format None"),
    "json lacks a field": (
        lambda root: (root / "store.json").write_text('{"format": 1}'),
        "class_names: Field required",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store_is_refused(tmp_path, damage):
    write(tmp_path)
    change, message = DAMAGE[damage]
    change(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        Store.open(tmp_path)
    assert "--overwrite" in str(caught.value)


def test_a_newer_format_is_refused(tmp_path):
    write(tmp_path)
    values = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(values | {"format": 99, "news": 1}))
    with pytest.raises(DataError, match="format 99, this version reads 1"):
        Store.open(tmp_path)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Store.open(tmp_path / "nothing")
    with pytest.raises(DataError, match="is not a store"):
        Store.open(tmp_path)


def test_prepared_before(tmp_path):
    out = tmp_path / "store"
    assert prepared_before(out, SOURCE, overwrite=False) is None
    out.mkdir()
    assert prepared_before(out, SOURCE, overwrite=False) is None  # an empty folder may be filled
    store = write(out)
    again = prepared_before(out, SOURCE, overwrite=False)
    assert again is not None
    assert again.meta == store.meta
    assert prepared_before(out, SOURCE, overwrite=True) is None
    with pytest.raises(DataError, match="was prepared before here changed; give --overwrite"):
        prepared_before(out, SOURCE.model_copy(update={"fingerprint": "g"}), overwrite=False)
    with pytest.raises(DataError, match=r"already holds here \(size=5\), not there \(size=5\)"):
        prepared_before(out, SOURCE.model_copy(update={"source": "there"}), overwrite=False)


def test_what_is_not_a_store_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(DataError, match="is not a store; choose another --out"):
            prepared_before(out, SOURCE, overwrite=True)
