"""Small sources in the published formats, written as their publishers do."""

import gzip
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from taildiff.data.formats.folder import find_folder
from taildiff.data.prepare import prepare


def prepare_folder(source, out, size, test=None, **options):
    return prepare(find_folder(source, test), out, size, **options)


def pixels(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def idx(path, array, kind=8, tail=b""):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    data = head + np.ascontiguousarray(array).tobytes() + tail
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def mnist(root, train=30, test=10, lead="", suffix=".gz", classes=3, first=0):
    """Write the four files; returns (images, labels) of each split."""
    arrays = []
    for part, n in (("train", train), ("t10k", test)):
        images, labels = pixels(n, 6, 5, seed=n), (np.arange(n) % classes + first).astype(np.uint8)
        idx(root / f"{lead}{part}-images-idx3-ubyte{suffix}", images)
        idx(root / f"{lead}{part}-labels-idx1-ubyte{suffix}", labels)
        arrays.append((images, labels))
    return arrays


def _dump(path, value, python2):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pickle.dumps(value, 4)
    path.write_bytes(as_python2(value) if python2 else data)


def as_python2(value):
    """A pickle of protocol 2 as Python 2 and old numpy wrote it: text and bytes are both str."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value):
    match value:
        case str() | bytes():
            raw = value.encode() if isinstance(value, str) else value
            return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw
        case int():
            return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(_python2, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
        case np.ndarray():
            made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            shape = b"".join(_python2(side) for side in value.shape) + b"\x86"
            return made + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"
    raise TypeError(value)


def cifar10(root, each=20, python2=True):
    """All images uint8 (n, 32, 32, 3) and labels, in the order of the files."""
    folder, images, labels = root / "cifar-10-batches-py", [], []
    for k, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        flat, classes = pixels(each, 3072, seed=k), [(k + i) % 10 for i in range(each)]
        batch = {"batch_label": name, "labels": classes, "data": flat, "filenames": [f"{i}.png" for i in range(each)]}
        _dump(folder / name, batch, python2)
        images.append(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += classes
    meta = {"num_cases_per_batch": 10000, "label_names": [f"class {k}" for k in range(10)], "num_vis": 3072}
    _dump(folder / "batches.meta", meta, python2)
    return np.concatenate(images), np.array(labels)


def cifar100(root, binary=False, train=200, test=100):
    images, fine = pixels(train + test, 3072), np.arange(train + test) % 100
    folder = root / ("cifar-100-binary" if binary else "cifar-100-python")
    names = {"fine_label_names": [f"f{k}" for k in range(100)], "coarse_label_names": [f"c{k}" for k in range(20)]}
    folder.mkdir(parents=True)
    for name, part in (("train", slice(None, train)), ("test", slice(train, None))):
        data, labels = images[part], fine[part]
        if binary:
            table = np.column_stack([labels // 5, labels, data]).astype(np.uint8)
            (folder / f"{name}.bin").write_bytes(table.tobytes())
        else:
            values = {"data": data, "fine_labels": labels.tolist(), "coarse_labels": (labels // 5).tolist()}
            _dump(folder / name, values, python2=True)
    if binary:
        for key, value in names.items():
            (folder / f"{key}.txt").write_text("\n".join(value) + "\n\n")
    else:
        _dump(folder / "meta", names, python2=True)
    return images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), fine


def archive(folder: Path):
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as file:
        file.add(folder, folder.name)
    return path


TINY = ("n01443537", "n01629819", "n01641577")


def jpeg(path, seed=0, size=12, kind="JPEG", mode="RGB"):
    """A small image of this kind, whatever the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = 40 + 17 * seed % 200
    Image.new(mode, (size, size), (shade, 100, 200, 0)[: len(mode)] if len(mode) > 1 else shade).save(path, kind)


def tinyimagenet(root, each=2, held_out=1, wnids=TINY):
    """The tree of tiny-imagenet-200.zip, with fewer classes and images."""
    lines = []
    for k, wnid in enumerate(wnids):
        for i in range(each):
            jpeg(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 3 * k + i)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
        for i in range(held_out):
            name = f"val_{k * held_out + i}.JPEG"
            jpeg(root / "val" / "images" / name, k)
            lines.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    jpeg(root / "test" / "images" / "test_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in reversed(wnids)))
    (root / "words.txt").write_text("".join(f"{w}\tword {k}, other\n" for k, w in enumerate((*wnids, "n09999999"))))
    return root


def imagenet(root, wnids=("n01440764", "n01443537", "n01484850"), each=2, held_out=1):
    """The usual folders: train by wnid, val in one folder. Returns the wnid of each held-out image."""
    truth = {}
    for k, wnid in enumerate(wnids):
        for i in range(each):
            jpeg(root / "train" / wnid / f"{wnid}_{i}.JPEG", k + i, size=8)
    for k in range(held_out * len(wnids)):
        name = f"ILSVRC2012_val_{k + 1:08d}.JPEG"
        jpeg(root / "val" / name, k, size=8)
        truth[name] = wnids[-1 - k % len(wnids)]
    return truth


def meta_mat(path, wnids):
    """The file of the devkit: unsorted ids from 1, then a group of classes."""
    rows = [(k, wnid, f"word {wnid}") for k, wnid in enumerate((*reversed(wnids), "n00001740"), 1)]
    rows[-1] = (1001, *rows[-1][1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    synsets = np.array(rows, [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]).reshape(-1, 1)
    savemat(path, {"synsets": synsets})


def inaturalist(root, counts=(4, 3, 2), held_out=1, first=0):
    """Annotations and images; ids from `first`."""
    supers = ("Plantae", "Aves", "Fungi")
    number = 0
    for part, sizes in (("train", counts), ("val", [held_out] * len(counts))):
        images, annotations = [], []
        for k, size in enumerate(sizes):
            for i in range(size):
                name = f"train_val2018/{supers[k % 3]}/{k + first}/{part}{i:030d}.jpg"
                jpeg(root / name, k + i)
                images.append({"id": number, "file_name": name, "width": 12, "height": 12})
                annotations.append({"id": number, "image_id": number, "category_id": k + first})
                number += 1
        categories = [{"id": k + first, "name": f"{k:x}fe", "supercategory": supers[k % 3]} for k in range(len(counts))]
        values = {"images": images[::-1], "annotations": annotations, "categories": categories}
        (root / f"{part}2018.json").write_text(json.dumps(values))
    return root
