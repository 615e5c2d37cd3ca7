"""Extractors by name; each has its own preparation and a hash over everything that determines its features.

    domain                            a small classifier trained on the dataset's real images
    inception[:FILE]                  the Inception of 2015; only its Fréchet distance is called FID
    dinov2[:FOLDER or hub name]       self-supervised; extra `dinov2`
    effnet-lite0                      ImageNet weights from a Python package; extra `offline`
    torchscript:FILE[?size=224&…]     your own TorchScript file
    MODULE:FUNCTION                   your own Python function

A missing requirement is an error that says how to get it; no name ever falls back to another.
"""

from pathlib import Path

from taildiff.data.store import Store
from taildiff.errors import InputError, unknown
from taildiff.evaluation.classifier import domain_classifier
from taildiff.evaluation.extractors.base import Extractor
from taildiff.evaluation.extractors.custom import load_function, load_torchscript
from taildiff.evaluation.extractors.dinov2 import DEFAULT, load_dinov2
from taildiff.evaluation.extractors.effnet import load_effnet_lite0
from taildiff.evaluation.extractors.inception import load_inception
from taildiff.log import Progress, silent

NAMES = ("domain", "inception", "dinov2", "effnet-lite0", "torchscript:FILE", "MODULE:FUNCTION")


def extractor(name: str, store: Store, progress: Progress = silent, device: str = "cpu") -> Extractor:
    """The extractor called `name` (above), ready for the images of a store.

    Only `domain` learns from the store; the others use the shape of its images. Raises `InputError` if the name is
    unknown or a requirement is missing.
    """
    kind, colon, place = name.partition(":")
    if colon and not place:
        raise InputError(f"'{name}' has nothing after the colon. Choices: {', '.join(NAMES)}")
    if colon and kind in ("domain", "effnet-lite0"):
        raise InputError(f"'{kind}' takes nothing after a colon: --features {kind}")
    facts = store.facts
    shape = (facts.height, facts.width, facts.channels)
    match kind:
        case "domain":
            return domain_classifier(store, progress, device)
        case "inception":
            return load_inception(Path(place) if place else None, progress, device)
        case "dinov2":
            return load_dinov2(place or DEFAULT, device)
        case "effnet-lite0":
            return load_effnet_lite0(device)
        case "torchscript" if place:
            return load_torchscript(place, shape, device)
        case _ if colon:
            return load_function(name, shape)
        case _:
            raise InputError(unknown("extractor", name, NAMES))
