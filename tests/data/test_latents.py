"""Latents equal the encoder's output, row by row, are complete or rejected, and survive a kill with equal bytes."""

import json
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import latent_sources
from data.latent_sources import CODEC, by_hand, make_store, run
from taildiff.data import encode
from taildiff.data.latents import LatentStore, is_latents, open_data, pixels_of
from taildiff.data.longtail import Split
from taildiff.data.store import Store, prepared_before
from taildiff.data.verify import verify
from taildiff.errors import DataError
from taildiff.io import resumable_array
from taildiff.spec import DataSpec

TEST = np.arange(26) % 6 == 5  # 22 for training, 4 held out
FILES = ["labels.npy", "latents.json", "moments.npy", "names.txt", "test.npy"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store", TEST)


@pytest.fixture
def latents(store: Store, tmp_path: Path) -> LatentStore:
    return run(store.root, tmp_path / "latents")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(one: Path, other: Path) -> bool:
    return names(one) == names(other) and all((one / k).read_bytes() == (other / k).read_bytes() for k in names(one))


def test_the_moments_are_those_of_each_training_image_and_its_mirror(store, latents):
    images = store.images[~TEST]
    assert isinstance(latents.moments, np.memmap)
    assert (latents.moments.dtype, latents.moments.shape) == (np.float16, (22, 2, 2, 3, 4, 2))
    np.testing.assert_array_equal(latents.moments[:, 0], by_hand(images))
    np.testing.assert_array_equal(latents.moments[:, 1], by_hand(images[:, :, ::-1]))
    assert latents.moments[0, 0, 0, 2, 1, 0] == np.float16(images[0, 2:4, :4, 2].mean())
    assert latents.moments[0, 1, 0, 2, 1, 0] == np.float16(images[0, 2:4, 4:, 2].mean())
    assert names(latents.root) == FILES


def test_columns_facts_and_splits_are_those_of_the_store(store, latents):
    np.testing.assert_array_equal(latents.labels, store.labels)
    np.testing.assert_array_equal(latents.test, store.test)
    assert (latents.meta, latents.names) == (store.meta, store.names)
    assert latents.facts == store.facts.model_copy(update={"codec": CODEC})
    assert latents.facts.shape == (3, 4, 2)
    data = DataSpec(tail="exp", ratio=0.3)
    ours, theirs = Split.cut(latents, data), Split.cut(store, data)
    assert (ours.hash, ours.counts) == (theirs.hash, theirs.counts)
    np.testing.assert_array_equal(latents.moments[latents.rows(ours.index), 0], by_hand(store.images[ours.index]))


def test_a_list_finds_its_images_by_the_names_that_latents_keep(store, latents, tmp_path):
    (tmp_path / "list.txt").write_text("0.png 0\n1.png 1\n8.png 2\n")
    cut = DataSpec(tail="list", list=tmp_path / "list.txt")
    assert Split.cut(latents, cut).index.tolist() == Split.cut(store, cut).index.tolist() == [0, 1, 8]


@given(test=st.lists(st.booleans(), min_size=1, max_size=40), data=st.data())
def test_rows_are_places_among_the_training_images(test, data):
    mask = np.array(test)
    columns = LatentStore(Path("x"), None, mask, mask, None, None)  # pyright: ignore[reportArgumentType]
    training = [k for k, held_out in enumerate(test) if not held_out]
    asked = data.draw(st.lists(st.sampled_from(training), max_size=9)) if training else []
    rows = columns.rows(np.array(asked, np.int64))
    assert rows.tolist() == [training.index(position) for position in asked]
    for position in np.flatnonzero(mask):
        with pytest.raises(DataError, match=rf"no latents of image {position}, which is held out"):
            columns.rows(np.array([*asked, position]))


def test_every_number_of_16_bits_is_kept(tmp_path):
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    numbers = numbers[np.isfinite(numbers)].reshape(2, 2, 4, 31, 128)  # images, [mean, std], (c, h, w)
    store = make_store(tmp_path / "store", np.array([False, False, True]), names=False)
    codec = CODEC.model_copy(update={"channels": 4, "height": 31, "width": 128})
    latents = encode.encode(store, tmp_path / "latents", codec, lambda _: numbers)
    assert latents.moments[:, 0].tobytes() == latents.moments[:, 1].tobytes() == numbers.tobytes()


def test_the_size_of_the_batches_decides_nothing_else(store, latents, tmp_path):
    for size in (1, 7, 100):
        encode.encode(store, tmp_path / f"by{size}", CODEC, by_hand, size)
        assert same(tmp_path / f"by{size}", latents.root)


def test_batches_alone_are_in_memory(tmp_path):
    store = make_store(tmp_path / "store", np.zeros(3000, bool), names=False)
    wide = CODEC.model_copy(update={"channels": 64, "height": 8, "width": 8})

    def large(images):
        return np.zeros((len(images), 2, 64, 8, 8), np.float16)  # 16 KiB an image, 94 MiB in all with the mirrors

    tracemalloc.start()
    try:
        latents = encode.encode(store, tmp_path / "latents", wide, large, 8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert latents.moments.nbytes > 90 * 2**20
    assert peak < 4 * 2**20


def killed(store: Path, out: Path, at: int) -> int:
    command = [sys.executable, latent_sources.__file__, str(store), str(out), str(at)]
    return subprocess.run(command, check=False).returncode


def test_the_result_after_many_kills_is_the_same(store, latents, tmp_path):
    for at in (1, 6, 13, 22):
        assert killed(store.root, tmp_path / "again", at) == -signal.SIGKILL
        assert not (tmp_path / "again").exists()
    begun, again = starts(store, tmp_path / "again")
    assert begun == 22
    assert again.info == latents.info
    assert same(tmp_path / "again", latents.root)
    assert names(tmp_path) == ["again", "latents", "store"]


def test_the_result_after_a_kill_behind_any_disk_operation_is_the_same(store, latents, tmp_path):
    command = [sys.executable, latent_sources.__file__, str(store.root), str(tmp_path / "again")]
    assert subprocess.run(command, check=False).returncode == 0
    made = [tmp_path / name for name in names(tmp_path) if name.startswith("again-")]
    assert len(made) > 30  # eight shards, each synced with its log, and what comes before and behind
    assert [place.name for place in made if not same(place, latents.root)] == []


def starts(store: Store, out: Path, codec=CODEC, **options):
    """The row with which an encoding begins, and what comes of it."""
    seen: list[int] = []
    made = encode.encode(store, out, codec, by_hand, 3, lambda _stage, done, _total: seen.append(done), **options)
    return seen[0], made


def stopped(store: Store, out: Path, error: type[BaseException] = KeyboardInterrupt, at: int = 9, **options):
    """What is left by an encoding that ends like this."""

    def stop(_stage: str, done: int, _total: int, /) -> None:
        if done >= at:
            raise error

    with pytest.raises(error):
        run(store.root, out, progress=stop, **options)
    return out.with_name(f".{out.name}.partial")


@pytest.fixture
def _small_shards(monkeypatch):
    monkeypatch.setattr(resumable_array, "SHARD_SECONDS", 0.0)


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_ctrl_c_and_errors_are_resumed(store, latents, tmp_path, error):
    assert stopped(store, tmp_path / "again", error).is_dir()
    begun, again = starts(store, tmp_path / "again")
    assert begun == 9
    assert same(again.root, latents.root)


def test_stopping_before_the_first_shard_leaves_nothing(store, tmp_path):
    stopped(store, tmp_path / "again")
    assert names(tmp_path) == ["store"]


@pytest.mark.usefixtures("_small_shards")
def test_other_unfinished_latents_are_not_discarded_silently(store, tmp_path):
    for change, what in ({"hash": "b" * 64}, "of these images by another VAE"), ({}, "of other images"):
        stopped(store, tmp_path / "again")
        codec = CODEC.model_copy(update=change)
        other = store if change else make_store(tmp_path / "other", TEST, seed=1)
        with pytest.raises(DataError, match=rf"has \d+ unfinished latents {what}; .*--overwrite to discard them"):
            starts(other, tmp_path / "again", codec)
        begun, made = starts(other, tmp_path / "again", codec, overwrite=True)
        assert begun == 0
        assert (made.info.codec, made.meta.hash) == (codec, other.meta.hash)
        np.testing.assert_array_equal(made.moments[:, 0], by_hand(other.images[~TEST]))
        shutil.rmtree(made.root)


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize(("damage", "begins"), [("a bit", 3), ("cut", 3), ("log cut", 6), ("no log", 0)])
def test_what_a_crash_of_the_machine_leaves_is_checked(store, latents, tmp_path, damage, begins):
    partial = stopped(store, tmp_path / "again")
    moments, log = partial / "moments.npy", partial / "shards.jsonl"
    row = 2 * 2 * 24 * 2  # bytes
    match damage:
        case "a bit":
            data = bytearray(moments.read_bytes())
            data[128 + 4 * row] ^= 1  # of the second shard
            moments.write_bytes(data)
        case "cut":
            moments.write_bytes(moments.read_bytes()[: 128 + 5 * row])
        case "log cut":
            log.write_text(log.read_text()[:-9])
        case _:
            log.unlink()
    begun, again = starts(store, tmp_path / "again")
    assert begun == begins
    assert same(again.root, latents.root)


def test_finished_latents_are_kept_and_others_are_not_replaced_silently(store, latents, tmp_path):
    before = {name: (latents.root / name).stat().st_mtime_ns for name in FILES}

    def never(images):
        raise AssertionError

    again = encode.encode(store, latents.root, CODEC, never)
    assert again.info == latents.info
    other = make_store(tmp_path / "other", TEST, seed=1)
    vae = CODEC.model_copy(update={"hash": "b" * 64, "source": "another"})
    with pytest.raises(DataError, match=r"already holds latents of toy in .*store, not of toy in .*other.*--overwrite"):
        encode.encode(other, latents.root, CODEC, by_hand)
    with pytest.raises(DataError, match=r"already holds latents by the VAE by hand, not by another.*--overwrite"):
        encode.encode(store, latents.root, vae, by_hand)
    assert before == {name: (latents.root / name).stat().st_mtime_ns for name in FILES}
    assert encode.encode(store, latents.root, vae, by_hand, overwrite=True).info.codec == vae
    assert names(tmp_path) == ["latents", "other", "store"]


def test_the_old_latents_stay_until_the_new_ones_are_whole(store, latents):
    stopped(store, latents.root, overwrite=True)
    assert LatentStore.open(latents.root).info == latents.info


def test_nothing_but_latents_is_ever_replaced(store, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    other = make_store(tmp_path / "other", TEST, seed=1)
    for place in (tmp_path / "thesis", other.root, tmp_path / "thesis" / "chapter1.tex"):
        with pytest.raises(DataError, match="holds no latents; choose another --out"):
            run(store.root, place, overwrite=True)
    for place in (store.root, store.root / "latents", tmp_path):
        with pytest.raises(DataError, match="must not contain each other"):
            run(store.root, place, overwrite=True)
    assert names(tmp_path) == ["other", "store", "thesis"]
    latents = run(store.root, tmp_path / "latents")
    with pytest.raises(DataError, match="is not a store; choose another --out"):
        prepared_before(latents.root, store.meta.source, overwrite=True)


def test_nothing_begins_without_room_or_whole_images(store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("taildiff.io.staging.shutil.disk_usage", lambda _: type("Usage", (), {"free": 9})())
        with pytest.raises(DataError, match=r"latents needs 0\.0 GB, but .* has 0\.0 GB left"):
            run(store.root, tmp_path / "latents")
    data = bytearray((store.root / "images.npy").read_bytes())
    data[-1] ^= 1
    (store.root / "images.npy").write_bytes(data)
    with pytest.raises(DataError, match="was changed after it was prepared"):
        run(store.root, tmp_path / "latents")
    with pytest.raises(DataError, match="has no training images"):
        run(make_store(tmp_path / "held", np.ones(3, bool)).root, tmp_path / "latents")
    assert names(tmp_path) == ["held", "store"]


def _edit(root: Path, **values) -> None:
    path = root / "latents.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "moments cut": (
        lambda root: (root / "moments.npy").write_bytes((root / "moments.npy").read_bytes()[:-1]),
        r"moments\.npy is damaged or cut off",
    ),
    "moments gone": (lambda root: (root / "moments.npy").unlink(), r"moments\.npy is missing"),
    "moments of float32": (
        lambda root: np.save(root / "moments.npy", np.zeros((22, 2, 2, 3, 4, 2), np.float32)),
        r"moments\.npy holds float32 .*latents\.json says float16 \(22, 2, 2, 3, 4, 2\)",
    ),
    "a bit of the moments": (lambda root: _flip(root / "moments.npy"), r"its moments, labels or class names"),
    "labels gone": (lambda root: (root / "labels.npy").unlink(), r"labels\.npy is missing"),
    "label of no class": (lambda root: np.save(root / "labels.npy", np.full(26, 3)), r"labels\.npy: labels 3\.\.3"),
    "labels swapped": (lambda root: np.save(root / "labels.npy", np.arange(26)[::-1] % 3), r"labels or class names"),
    "more held out": (lambda root: np.save(root / "test.npy", np.arange(26) < 5), r"test\.npy has 21 training images"),
    "others held out": (lambda root: np.save(root / "test.npy", np.arange(26) < 4), r"do not fit the hash"),
    "json empty": (lambda root: (root / "latents.json").write_text(""), r"latents\.json is not readable JSON"),
    "json a list": (lambda root: (root / "latents.json").write_text("[]"), r"latents\.json: format None"),
    "json of a later version": (lambda root: _edit(root, format=2), r"latents\.json: format 2, this version reads 1"),
    "json edited": (
        lambda root: _edit(root, codec=CODEC.model_dump() | {"scaling": 0.6}),
        r"latents\.json was changed or is damaged: its checksum does not match",
    ),
    "json with a path that is none": (lambda root: _edit(root, pixels_path=3), r"latents\.json: pixels_path"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_latents_are_refused(latents, damage):
    change, message = DAMAGE[damage]
    change(latents.root)
    with pytest.raises(DataError, match=message) as caught:
        verify(LatentStore.open(latents.root))
    assert "taildiff data encode … --overwrite" in str(caught.value)


def test_large_latents_are_not_read_unasked(latents):
    assert verify(latents)
    _flip(latents.root / "moments.npy")
    assert not verify(latents, limit=latents.moments.nbytes - 1)


def test_training_data_is_a_store_or_latents(store, latents, tmp_path):
    assert type(open_data(store.root)) is Store
    assert type(open_data(str(latents.root))) is LatentStore
    assert (is_latents(latents.root), is_latents(store.root)) == (True, False)
    with pytest.raises(DataError, match=r"neither a store \(no store.json\) nor latents \(no latents.json\)"):
        open_data(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_data(tmp_path / "nothing")


def test_a_store_in_place_of_latents_is_reported_and_the_reverse(store, latents, tmp_path):
    with pytest.raises(
        DataError, match=rf"holds latents, but images are needed; give the store they were made from: {store.root}$"
    ):
        Store.open(latents.root)
    with pytest.raises(DataError, match=r"is a store of images\. Encode it: taildiff data encode"):
        LatentStore.open(store.root)
    with pytest.raises(DataError, match="does not exist"):
        LatentStore.open(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"it has no latents\.json"):
        LatentStore.open(tmp_path)


def test_latents_do_without_the_store_and_find_it_when_it_is_needed(store, latents, tmp_path):
    assert pixels_of(latents).root == store.root
    store.root.rename(tmp_path / "moved")
    assert verify(LatentStore.open(latents.root))
    with pytest.raises(DataError, match=r"cannot be opened .*does not exist.*give its place: --data STORE"):
        pixels_of(latents)
    _edit(latents.root, pixels_path=str(tmp_path / "moved"))  # the one field that may be edited
    assert pixels_of(LatentStore.open(latents.root)).meta == latents.meta
    make_store(store.root, TEST, seed=1)
    with pytest.raises(DataError, match=r"now holds other images .*--data STORE"):
        pixels_of(latents)
