"""The filters of `taildiff fill` on planted images: copies of photographs, and photographs of other classes.

    python benchmarks/filling.py --store data/photos --new data/new

STORE is what a run would be trained on, with held-out images; NEW is a store of other photographs of the same classes
and size, which neither the classifier nor the thresholds have seen. Copies are made of the training photographs, one
for each change below. The table of classes has shares of the photographs in NEW: of other classes that are rejected,
which the filter is for, and of the class itself that are rejected wrongly.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from taildiff.data.store import Store
from taildiff.evaluation.classifier import domain_classifier
from taildiff.evaluation.copies import CopyFinder
from taildiff.filling.filters import ClassThresholds
from taildiff.metrics import CopyRule

Change = Callable[[Image.Image], Image.Image]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--new", type=Path, required=True)
    options = parser.parse_args()
    store, new = Store.open(options.store), Store.open(options.new)
    copies(store, new)
    classes(store, new)


def copies(store: Store, new: Store) -> None:
    """Shares of changed copies that are named, by what distances are taken on."""
    index, names = store.train_index, store.meta.class_names
    images, labels = np.asarray(store.images)[index], np.asarray(store.labels)
    finder, classifier = CopyFinder.of(store, index), domain_classifier(store)
    held_out = store.test_index
    features = classifier.features
    by_features = CopyRule.fit(
        features(images), labels[index], features(np.asarray(store.images)[held_out]), labels[held_out]
    )
    print(f"copies of {len(index)} training photographs; thresholds from {int(finder.rule.real.sum())} held-out ones")
    print("| change | pictures | of the rarest class | classifier's features |\n|---|--:|--:|--:|")
    rare = labels[index] == int(np.argmin(store.facts.counts))
    for name, change in _changes().items():
        changed = np.stack([_changed(image, change) for image in images])
        found = finder.measure(changed, labels[index])
        named = found.copied & (found.nearest == index)
        of_features = by_features.measure(features(changed), labels[index]).copied
        print(f"| {name} | {named.mean():.0%} | {named[rare].sum()} of {rare.sum()} | {of_features.mean():.0%} |")
    wrong = finder.measure(np.asarray(new.images), np.asarray(new.labels)).copied
    print(f"new photographs taken for copies: {wrong.sum()} of {len(wrong)} ({wrong.mean():.1%})")
    loo = CopyFinder.of(_without_held_out(store), np.arange(len(index)))
    few = [loo.measure(np.stack([_changed(i, c) for i in images]), labels[index]).copied for c in _changes().values()]
    print("with nothing held out:", ", ".join(f"{n} {f.mean():.0%}" for n, f in zip(_changes(), few, strict=True)))
    wrong = loo.measure(np.asarray(new.images), np.asarray(new.labels)).copied
    print(f"  new photographs taken for copies: {wrong.sum()} of {len(wrong)}; classes {', '.join(names)}")


def _without_held_out(store: Store) -> Store:
    """The training images of a store alone."""
    import tempfile

    from taildiff.data.store import SourceMeta, StoreWriter

    meta, index = store.meta, store.train_index
    place = Path(tempfile.mkdtemp()) / "store"
    with StoreWriter(place, meta.name, meta.class_names, meta.shape[1:], SourceMeta(source="benchmark")) as writer:
        writer.append(np.asarray(store.images)[index], np.asarray(store.labels)[index], np.zeros(len(index), np.bool_))
        return writer.close()


def classes(store: Store, new: Store) -> None:
    """Shares of photographs that the class filter rejects."""
    classifier = domain_classifier(store)
    thresholds, accuracy = ClassThresholds.of(store, classifier), classifier.accuracy
    probabilities, labels = classifier.probabilities(classifier.features(new.images)), np.asarray(new.labels)
    counts = store.facts.counts
    print("\n| class | training | held out | recognised | other classes rejected | wrongly rejected |")
    print("|---|--:|--:|--:|--:|--:|")
    for label in np.argsort(counts)[::-1].tolist():
        rejected, own = probabilities[:, label] < thresholds.least[label], labels == label
        right = (probabilities[own].argmax(axis=1) == label).mean()
        pooled = " (pooled)" * bool(thresholds.pooled[label])
        held_out = f"{accuracy.total[label]}{pooled}"
        shares = f"{right:.0%} | {rejected[~own].mean():.0%} | {rejected[own].mean():.0%}"
        print(f"| {store.meta.class_names[label]} | {counts[label]} | {held_out} | {shares} |")


def _changes() -> dict[str, Change]:
    rng = np.random.default_rng(0)

    def jpeg(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=40)
        return Image.open(buffer).convert(image.mode)

    def noise(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image) + rng.normal(0, 10, np.asarray(image).shape)
        return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))

    def crop(image: Image.Image) -> Image.Image:
        edge = image.width / 16
        return image.resize(image.size, Image.Resampling.LANCZOS, (edge, edge, image.width - edge, image.height - edge))

    def shift(image: Image.Image) -> Image.Image:
        pixels, by = np.asarray(image), image.width // 16
        return Image.fromarray(np.concatenate([pixels[:, :1].repeat(by, axis=1), pixels[:, :-by]], axis=1))

    return {
        "none": lambda image: image,
        "JPEG of quality 40": jpeg,
        "noise of 10 levels": noise,
        "blur, radius 0.7": lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
        "12 % brighter": lambda image: image.point(lambda value: 1.12 * value),
        "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "shifted by 1/16": shift,
        "cropped to 7/8": crop,
    }


def _changed(image: np.ndarray, change: Change) -> np.ndarray:
    plain = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(change(plain)).reshape(image.shape)


if __name__ == "__main__":
    main()
