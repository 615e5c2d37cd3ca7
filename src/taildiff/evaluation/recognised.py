"""What the classifier of an evaluation makes of images, where it has been trained already."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taildiff.data.store import Store
from taildiff.evaluation.cache import images_key
from taildiff.evaluation.classifier import domain_classifier, domain_hash
from taildiff.evaluation.images import ImageSequence
from taildiff.evaluation.reference import cached_image_features
from taildiff.log import Progress, silent


def recognised_as(
    store: Store, images: ImageSequence, labels: NDArray[np.int64], cache: Path, progress: Progress = silent
) -> NDArray[np.int64] | None:
    """The classifier's label for each image (M, H, W, C); None where no evaluation on this store has trained it.

    Features are those that an evaluation has cached in `cache`, else computed on the CPU and cached there.
    """
    if not (store.cache_dir / f"domain-{domain_hash(store.meta.hash)}.safetensors").is_file():
        return None
    classifier = domain_classifier(store, progress)
    content, stage = images_key(images, labels), "what the classifier sees"
    return classifier.predict(cached_image_features(cache, classifier, images, content, progress, stage))
