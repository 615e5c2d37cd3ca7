"""CIFAR: all published versions give the same images, and no pickle is executed."""

import io
import pickle
import pickletools
from types import NoneType

import numpy as np
import pytest
import sources
from hypothesis import given
from hypothesis import strategies as st

from taildiff.data.formats.cifar import find_cifar10, find_cifar100
from taildiff.data.formats.pickles import PickleRefusedError, read_pickle
from taildiff.data.prepare import prepare
from taildiff.errors import DataError


def binary10(root, images, labels):
    """The binary version of the files of `sources.cifar10`."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    table = np.column_stack([labels, planes]).astype(np.uint8)
    for part, name in zip(
        np.split(table, 6), [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"], strict=True
    ):
        (folder / name).write_bytes(part.tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"class {k}\n" for k in range(10)) + "\n")
    return folder


def test_all_versions_of_cifar10_give_one_store(tmp_path):
    images, labels = sources.cifar10(tmp_path / "py")
    binary = binary10(tmp_path, images, labels)
    sources.cifar10(tmp_path / "new", python2=False)
    packed = sources.archive(tmp_path / "py" / "cifar-10-batches-py")
    places = [tmp_path / "py", tmp_path / "new" / "cifar-10-batches-py", binary, packed, sources.archive(binary)]
    stores = [prepare(find_cifar10(place), tmp_path / f"s{k}") for k, place in enumerate(places)]
    assert len({store.meta.hash for store in stores}) == 1
    store = stores[0]
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.labels, labels)
    np.testing.assert_array_equal(store.test, np.arange(120) >= 100)
    assert store.meta.class_names == tuple(f"class {k}" for k in range(10))
    assert store.meta.name == "cifar10"
    assert store.meta.notes == ("120 images; the published CIFAR has 50,000 and 10,000",)
    with pytest.raises(DataError, match="the published CIFAR has 50,000 and 10,000, or prepare without --strict"):
        prepare(find_cifar10(places[0]), tmp_path / "strict", strict=True)


@pytest.mark.parametrize("binary", [False, True])
def test_cifar100_fine_and_coarse(tmp_path, binary):
    images, fine = sources.cifar100(tmp_path, binary)
    store = prepare(find_cifar100(tmp_path), tmp_path / "fine")
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.labels, fine)
    assert store.meta.class_names[99] == "f99"
    coarse = prepare(find_cifar100(tmp_path, "coarse"), tmp_path / "coarse")
    np.testing.assert_array_equal(coarse.labels, fine // 5)
    assert coarse.meta.class_names[19] == "c19"
    with pytest.raises(DataError, match=r"already holds .*labels=fine.*labels=coarse"):
        prepare(find_cifar100(tmp_path, "coarse"), tmp_path / "fine")


def test_reading_starts_anywhere(tmp_path):
    images, _ = sources.cifar10(tmp_path)
    source = find_cifar10(tmp_path).read()
    for start in (0, 19, 20, 99, 100, 119, 120):
        np.testing.assert_array_equal(np.array(list(source.pictures(start))).reshape(-1, 32, 32, 3), images[start:])


class Attack:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_with_code_is_rejected(tmp_path, protocol, capsys):
    sources.cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({"labels": [0], "data": Attack()}, protocol))
    with pytest.raises(DataError, match=r"data_batch_3 is not a file of CIFAR: .*Nothing in it was executed"):
        prepare(find_cifar10(tmp_path), tmp_path / "store")
    assert not capsys.readouterr().out
    assert not (tmp_path / "store").exists()


def test_the_message_names_the_call():
    with pytest.raises(PickleRefusedError, match=r"would call builtins\.print"):
        read_pickle(io.BytesIO(pickle.dumps(Attack(), 4)))
    with pytest.raises(PickleRefusedError, match=r"array of O8|array of f8"):
        read_pickle(io.BytesIO(pickle.dumps({"data": np.zeros(3)}, 4)))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=9) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner)
    ),
    max_leaves=9,
)


@given(plain, st.integers(3, 4))
def test_plain_data_read_like_pickle(value, protocol):
    assert read_pickle(io.BytesIO(pickle.dumps({"x": value}, protocol))) == {"x": value}


@given(st.data())
def test_a_damaged_pickle_is_rejected_or_plain(data):
    """Flipped bytes never reach anything but lists, dicts, text, numbers and arrays."""
    raw = bytearray(sources.as_python2({"labels": [1, 2], "data": np.zeros((2, 3), np.uint8)}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = read_pickle(io.BytesIO(bytes(raw)))
    except PickleRefusedError:
        return
    assert isinstance(value, int | str | bytes | list | dict | tuple | NoneType) or type(value).__module__.endswith(
        "pickles"
    )


def test_the_test_files_use_the_instructions_of_the_official_files():
    names = {op.name for op, _, _ in pickletools.genops(sources.as_python2({"data": np.zeros((1, 3072), np.uint8)}))}
    assert {"PROTO", "GLOBAL", "REDUCE", "BUILD", "BINSTRING", "SHORT_BINSTRING"} <= names
    expected = pickle.loads(sources.as_python2({"data": np.arange(9, dtype=np.uint8).reshape(3, 3)}), encoding="latin1")
    np.testing.assert_array_equal(expected["data"], np.arange(9).reshape(3, 3))


def _dump(path, value):
    path.write_bytes(pickle.dumps(value, 4))


BATCH = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
DAMAGE = {
    "missing": (lambda at: (at / "data_batch_4").unlink(), "lacks data_batch_4; unpack"),
    "cut off": (lambda at: (at / "test_batch").write_bytes((at / "test_batch").read_bytes()[:-9]), "truncated"),
    "text": (lambda at: (at / "test_batch").write_text("hello"), "test_batch is not a file of CIFAR"),
    "a list": (lambda at: _dump(at / "test_batch", [1]), "it contains no dict"),
    "no data": (lambda at: _dump(at / "test_batch", {"labels": [0]}), "no `data` with 3,072"),
    "other shape": (lambda at: _dump(at / "test_batch", BATCH | {"data": np.zeros((2, 9), np.uint8)}), "no `data`"),
    "no labels": (lambda at: _dump(at / "test_batch", {"data": BATCH["data"]}), "no list of `fine_labels`"),
    "odd labels": (lambda at: _dump(at / "test_batch", BATCH | {"labels": [0, "1"]}), "no list of `labels`"),
    "fewer labels": (lambda at: _dump(at / "test_batch", BATCH | {"labels": [0]}), "2 images and 1 labels"),
    "large label": (
        lambda at: _dump(at / "test_batch", BATCH | {"labels": [0, 10]}),
        r"labels 0\.\.10, but there are 10",
    ),
    "no names": (lambda at: _dump(at / "batches.meta", {}), "no list of `fine_label_names`"),
    "an empty class": (
        lambda at: [_dump(at / f"data_batch_{k}", BATCH) for k in range(1, 6)],
        "class 'class 2' has no training images",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(tmp_path, name):
    sources.cifar10(tmp_path)
    damage, message = DAMAGE[name]
    damage(tmp_path / "cifar-10-batches-py")
    with pytest.raises(DataError, match=message):
        prepare(find_cifar10(tmp_path), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_binary_files_of_the_wrong_length_and_other_archives(tmp_path):
    folder = binary10(tmp_path, *sources.cifar10(tmp_path / "py"))
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin has 61,459 bytes, not a multiple of 3,073"):
        prepare(find_cifar10(folder), tmp_path / "store")
    packed = sources.archive(tmp_path / "py" / "cifar-10-batches-py")
    with pytest.raises(DataError, match="not the archive of CIFAR-100"):
        prepare(find_cifar100(packed), tmp_path / "store")
    packed.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"damaged|lacks"):
        prepare(find_cifar10(packed), tmp_path / "store")
    packed.write_text("hello")
    with pytest.raises(DataError, match=r"damaged or not a \.tar\.gz"):
        prepare(find_cifar10(packed), tmp_path / "store")
    with pytest.raises(DataError, match="contains no CIFAR-100"):
        find_cifar100(tmp_path)
