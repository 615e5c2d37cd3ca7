"""The classifier of a dataset's real images: the extractor `domain`, and the reference for accuracy."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from scipy.special import softmax

from taildiff.data.store import Store
from taildiff.errors import DataError
from taildiff.evaluation import classifier_network
from taildiff.evaluation.cache import cache_key
from taildiff.evaluation.images import Images, ImageSequence, in_batches
from taildiff.io.atomic import write_atomic
from taildiff.io.paths import regular
from taildiff.log import Progress, silent

_DAMAGE = (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError)


@dataclass(frozen=True)
class ClassifierAccuracy:
    """Correct predictions per class on real images that the classifier was not trained on."""

    kind: str
    """`test`: on the store's test column; `cross-fitted`: each third predicted by a network trained on the others."""
    correct: tuple[int, ...]
    total: tuple[int, ...]


@dataclass(frozen=True)
class DomainClassifier:
    """The extractor `domain`: penultimate features of a small classifier trained on the dataset's real images.

    It also decides whether a generated image shows the requested class.
    """

    network: classifier_network.Network
    hash: str
    accuracy: ClassifierAccuracy
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    name: str = "domain"
    dim: int = classifier_network.DIM
    is_fid: bool = False

    def features(self, images: ImageSequence, progress: Progress = silent) -> NDArray[np.float32]:
        """Features (N, D) of 8-bit images (N, H, W, C)."""

        def forward(part: Images) -> NDArray[np.float32]:
            with torch.inference_mode():
                return self.network.body(classifier_network.to_tensor(part, self.device)).float().cpu().numpy()

        return in_batches(images, self.dim, 256, forward, progress)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class scores (N, C) of its own features (N, D)."""
        with torch.inference_mode():
            return self.network.head(torch.from_numpy(features).to(self.device)).cpu().numpy()

    def probabilities(self, features: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Class probabilities (N, C) of its own features (N, D)."""
        return softmax(self.logits(features), axis=1)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """The most likely label (N,) for its own features (N, D)."""
        return self.logits(features).argmax(axis=1)


def domain_hash(store_hash: str, seed: int = 0) -> str:
    """Identity of a domain classifier: its images, its training, the seed."""
    return cache_key(store_hash, classifier_network.VERSION, classifier_network.DIM, seed)[:12]


def domain_classifier(
    store: Store, progress: Progress = silent, device: str = "cpu", seed: int = 0
) -> DomainClassifier:
    """The classifier of a store, trained once on its train column (all classes equally often), then cached.

    The cache is in the store's folder; a damaged file is replaced, with a note. Raises `DataError` if a class has no
    image to train on.
    """
    key = domain_hash(store.meta.hash, seed)
    path = store.cache_dir / f"domain-{key}.safetensors"
    notes: list[str] = []
    if path.exists():
        try:
            network, accuracy = _load(path, key, store, seed)
            return DomainClassifier(network.to(device).eval(), key, accuracy, device=device)
        except _DAMAGE as error:
            notes.append(f"the cached classifier was damaged and has been retrained ({error})")
    network = _untrained(store, seed)
    accuracy = _fit(network, store, seed, progress, device)
    try:
        write_atomic(path, _pack(network, key, accuracy))
    except OSError as error:
        notes.append(f"the classifier could not be cached beside the store ({error})")
    return DomainClassifier(network, key, accuracy, tuple(notes), device)


def _untrained(store: Store, seed: int) -> classifier_network.Network:
    return classifier_network.network(store.meta.channels, len(store.meta.class_names), seed)


def _fit(
    network: classifier_network.Network, store: Store, seed: int, progress: Progress, device: str
) -> ClassifierAccuracy:
    labels, classes = np.asarray(store.labels), len(store.meta.class_names)
    test = np.asarray(store.test)
    missing = [store.meta.class_names[c] for c in range(classes) if not (labels[~test] == c).any()]
    if missing:
        raise DataError(f"no training images of {', '.join(missing)}; the classifier needs every class")
    classifier_network.train(
        network, store.images, labels, np.flatnonzero(~test), seed, progress, "training the classifier", device
    )
    if test.any():
        kind, truth = "test", labels[test]
        predicted = classifier_network.predict(network, store.images, np.flatnonzero(test), device)
    else:
        kind, truth = "cross-fitted", labels
        scores = classifier_network.cross_fitted(store.images, labels, classes, seed, progress, device)
        predicted = scores.argmax(axis=1)
        counted = (
            np.bincount(labels, minlength=classes)[labels] > 1
        )  # without a second image there is none to learn from
        predicted, truth = predicted[counted], truth[counted]
    correct, total = (np.bincount(part, minlength=classes).tolist() for part in (truth[predicted == truth], truth))
    return ClassifierAccuracy(kind, tuple(correct), tuple(total))


def _pack(network: classifier_network.Network, key: str, accuracy: ClassifierAccuracy) -> bytes:
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {"definition": key, "checksum": _checksum(tensors), "hits": json.dumps(asdict(accuracy))}
    return save(tensors, metadata)


def _load(path: Path, key: str, store: Store, seed: int) -> tuple[classifier_network.Network, ClassifierAccuracy]:
    """A cached classifier; any damage, flipped bits included, raises one of `_DAMAGE`."""
    with safe_open(regular(path), framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata["definition"] != key or metadata["checksum"] != _checksum(tensors):
        raise ValueError("its checksum does not match")
    network = _untrained(store, seed)
    network.load_state_dict(tensors)
    values = json.loads(metadata["hits"])
    return network, ClassifierAccuracy(values["kind"], tuple(values["correct"]), tuple(values["total"]))


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        sha256.update(name.encode())
        sha256.update(tensors[name].numpy().tobytes())
    return sha256.hexdigest()
