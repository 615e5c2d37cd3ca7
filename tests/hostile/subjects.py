"""The files under test, how each is read, and whether it was read correctly."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data import sources
from hostile.damage import BINARY, TEXT, Damage
from taildiff import build
from taildiff.data import prepare
from taildiff.data.encode import encode
from taildiff.data.formats.cifar import find_cifar10
from taildiff.data.formats.folder import find_folder
from taildiff.data.formats.idx import find_idx
from taildiff.data.formats.imagenet import find_imagenet
from taildiff.data.formats.inaturalist import find_inaturalist
from taildiff.data.formats.npz import find_npz
from taildiff.data.formats.table import find_csv, find_list
from taildiff.data.formats.tinyimagenet import find_tinyimagenet
from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Split
from taildiff.data.source import Found
from taildiff.data.store import Store
from taildiff.data.verify import verify
from taildiff.evaluation.table import Table
from taildiff.io.json_files import read_json
from taildiff.reporting.load import load
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.spec import CodecFacts, RunSpec, parse
from taildiff.training.checkpoint import FILES, Trainable, load_checkpoint
from taildiff.training.ema import MovingAverage


@dataclass(frozen=True)
class Subject:
    """One file, and the public function that reads it."""

    name: str
    path: Path
    damages: tuple[Damage, ...]
    read: Callable[[], Any]
    """What a user would call."""
    same: Callable[[Any, Any], bool]
    """Whether a result equals the original."""
    names: tuple[str, ...] = ()
    """Names that an error may give instead of the file."""


def equal(a: Any, b: Any) -> bool:
    """Deep equality, with arrays and tensors."""
    if isinstance(a, np.ndarray | torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def anything(a: Any, b: Any) -> bool:
    """Any valid result is accepted: the file is written by hand."""
    return True


def of_store(store: Store) -> list[Subject]:
    def read() -> Any:
        opened = Store.open(store.root)
        verify(opened)
        return np.array(opened.images), opened.labels, opened.test, opened.meta.class_names

    return [
        Subject(f"store/{name}", store.root / name, damages, read, equal, (str(store.root),))
        for name, damages in {
            "store.json": TEXT,
            "images.npy": BINARY,
            "labels.npy": BINARY,
            "test.npy": BINARY,
        }.items()
    ]


def of_latents(store: Store, root: Path) -> list[Subject]:
    facts = {"source": "by hand", "kind": "AutoencoderTiny", "hash": "0" * 64, "channels": 1, "height": 2, "width": 2}
    codec = parse(CodecFacts, facts | {"scaling": 0.5})

    def corners(images: np.ndarray) -> np.ndarray:
        return np.stack([images[:, :2, :2, 0], images[:, -2:, -2:, 0]], 1)[:, :, None].astype(np.float16)

    encode(store, root, codec, corners)

    def read() -> Any:
        latents = LatentStore.open(root)
        verify(latents)
        info = latents.info.model_copy(update={"pixels_path": ""})  # may be changed by hand
        return np.array(latents.moments), latents.labels, latents.test, info

    kinds = {"latents.json": TEXT, "moments.npy": BINARY, "labels.npy": BINARY, "test.npy": BINARY}
    return [Subject(f"latents/{n}", root / n, damages, read, equal, (str(root),)) for n, damages in kinds.items()]


def of_run(run: RunDir, spec: RunSpec, store: Store) -> list[Subject]:
    state, split = run.state(run.checkpoint_steps()[-1]), Split.load(run.split)
    weights = run.weights(run.weight_steps()[-1])
    learner = build.learner(spec, store.facts, split.counts)
    trainable = Trainable(learner, MovingAverage(learner.denoiser, 0.9), torch.optim.AdamW(learner.parameters()))

    def checkpoint() -> Any:
        position = load_checkpoint(state, trainable)
        return position, trainable.tensors()

    def info() -> Any:
        values = run.info()
        return values.model_copy(update={"store": values.store.model_copy(update={"path": ""})})

    def load_split() -> Any:
        loaded = Split.load(run.split)
        return loaded.store_hash, loaded.index, loaded.counts, loaded.hash

    def same_lines(ours: Any, theirs: Any) -> bool:
        return ours == theirs[: len(ours)]  # a last line without its end is still being written

    return [
        *(Subject(f"checkpoint/{n}", state / f"{n}.safetensors", BINARY, checkpoint, equal) for n in FILES),
        Subject("checkpoint/state.json", state / "state.json", TEXT, checkpoint, equal),
        Subject("weights", weights, BINARY, lambda: read_weights(weights), equal),
        Subject("run.json", run.spec, TEXT, info, equal, (str(run.root),)),
        Subject("split.json", run.split, TEXT, load_split, equal),
        Subject("metrics.jsonl", run.metrics, BINARY, lambda: load([run]).runs[0].log, same_lines),
    ]


def of_spec(path: Path, spec: RunSpec) -> Subject:
    path.write_text(spec.model_dump_json())
    return Subject("spec.json", path, TEXT, lambda: parse(RunSpec, read_json(path), str(path)), anything)


def of_evaluation(run: RunDir) -> list[Subject]:
    loaded = load([run]).runs[0]
    assert loaded.evaluation is not None
    folder = loaded.evaluation.folder
    images = folder.images(1.0)

    def same(ours: Any, theirs: Any) -> bool:
        return not images.is_file() if ours is None else equal(ours, theirs)  # the images are optional

    return [
        Subject("table.json", folder.table_json, TEXT, lambda: Table.read(folder), equal),
        Subject("images.npz", images, BINARY, lambda: loaded.images(1.0), same),
    ]


PHOTOS = ("png", "jpg", "webp", "tif", "bmp")


def of_photos(folder: Path, out: Path) -> list[Subject]:
    """One photo per format in a class with others; the rest must be prepared unchanged."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for suffix in PHOTOS:
            smooth = np.linspace(0, 200, 12 * 12 * 3).reshape(12, 12, 3) + rng.integers(0, 50)
            Image.fromarray(smooth.astype(np.uint8)).save(folder / label / f"a.{suffix}")

    def read() -> Any:
        shutil.rmtree(out, ignore_errors=True)
        store = prepare.prepare(find_folder(folder), out, 8)
        skipped = store.meta.skipped_names
        assert store.meta.count + store.meta.skipped in (
            2 * len(PHOTOS) - 1,
            2 * len(PHOTOS),
        )  # one less if the file is missing
        assert all(" " in line for line in skipped)  # file and reason
        assert store.images.dtype == np.uint8
        return np.array(store.images[store.labels == 1])

    return [Subject(f"photo.{s}", folder / "cat" / f"a.{s}", BINARY, read, equal) for s in PHOTOS]


def of_sources(root: Path) -> list[Subject]:
    """Published formats; without a checksum, other pixels are another valid file, but counts must agree."""
    root.mkdir()
    sources.mnist(root / "plain", 30, suffix="")
    sources.mnist(root / "gz", 30, suffix=".gz")
    sources.cifar10(root / "cifar")
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (12, 8, 8, 1), np.uint8), "labels": np.arange(12) % 3}
    np.savez_compressed(root / "a.npz", **arrays)  # pyright: ignore[reportArgumentType]
    names = [f"{k}.png" for k in range(6)]
    for k, name in enumerate(names):
        Image.fromarray(np.full((9, 9), 40 * k, np.uint8)).save(root / name)
    (root / "t.csv").write_text("path,label\n" + "".join(f"{name},{'ab'[k % 2]}\n" for k, name in enumerate(names)))
    (root / "list.txt").write_text("".join(f"{name} {k % 2}\n" for k, name in enumerate(names)))
    batch = root / "cifar" / "cifar-10-batches-py" / "data_batch_1"

    tiny, ilsvrc, kit, nature = root / "tiny", root / "ilsvrc", root / "devkit", root / "nature"
    sources.tinyimagenet(tiny)
    sources.imagenet(kit)
    (ilsvrc / "val.txt").write_text("".join(f"{name} {wnid}\n" for name, wnid in sources.imagenet(ilsvrc).items()))
    sources.meta_mat(kit / "meta.mat", ("n01440764", "n01443537", "n01484850"))
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n3\n")
    sources.inaturalist(nature)

    def subject(name: str, path: Path, find: Callable[[], Found]) -> Subject:
        def read() -> Any:
            store = prepare.prepare(find(), root / f"out-{name.replace('/', '-')}", 8, overwrite=True)
            assert store.images.shape == store.meta.shape
            assert 0 <= store.labels.min() <= store.labels.max() < len(store.meta.class_names)
            return store.meta.count

        return Subject(f"source/{name}", path, BINARY, read, anything, (str(path.parent), path.name))

    idx = "train-images-idx3-ubyte"
    return [
        subject("idx", root / "plain" / idx, lambda: find_idx(root / "plain")),
        subject("idx.gz", root / "gz" / f"{idx}.gz", lambda: find_idx(root / "gz")),
        subject("cifar", batch, lambda: find_cifar10(root / "cifar")),
        subject("npz", root / "a.npz", lambda: find_npz(root / "a.npz")),
        subject("csv", root / "t.csv", lambda: find_csv(root / "t.csv")),
        subject("list", root / "list.txt", lambda: find_list(root / "list.txt")),
        subject("val_annotations", tiny / "val" / "val_annotations.txt", lambda: find_tinyimagenet(tiny, True)),
        subject("words", tiny / "words.txt", lambda: find_tinyimagenet(tiny, True)),
        subject("val.txt", ilsvrc / "val.txt", lambda: find_imagenet(ilsvrc, partial=True)),
        subject("meta.mat", kit / "meta.mat", lambda: find_imagenet(kit, partial=True)),
        subject("train2018", nature / "train2018.json", lambda: find_inaturalist(nature, True)),
    ]
