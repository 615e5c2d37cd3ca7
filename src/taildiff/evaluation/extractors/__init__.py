"""Extractors by name: what turns images into features, each with its preparation and a hash over all that decides them.

    domain                            a small classifier trained on the real images of the dataset
    inception[:FILE]                  the Inception of 2015: its Fréchet distance alone is called FID
    dinov2[:FOLDER or hub name]       self-supervised; extra `dinov2`
    effnet-lite0                      ImageNet weights that come as a Python package; extra `offline`
    torchscript:FILE[?size=224&…]     a TorchScript file of the user's own
    MODULE:FUNCTION                   a Python function of the user's own

What a name needs and lacks is an error that says how to get it; no name ever falls back to another one.
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
    """The extractor of a name (above), ready for the images of a store.

    Only `domain` learns from the store; the others take the shape of its images. Raises `InputError` when the name is
    unknown or what it needs is missing.
    """
    kind, colon, place = name.partition(":")
    if colon and not place:
        raise InputError(f"nothing follows the colon of '{name}'. Choices: {', '.join(NAMES)}")
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
