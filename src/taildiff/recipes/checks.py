"""Whether data fit a recipe."""

from taildiff.data.formats.published import CUTS
from taildiff.errors import DataError
from taildiff.recipes.latents import PREFIX
from taildiff.spec import DataFacts, RunSpec, SiTSpec

OLTR_IMAGES = CUTS["imagenet-lt"].lines
"""Training images in ImageNet-LT's published list."""
LONG_TAILED = 10
"""Largest class over smallest; all of ImageNet (1.8) and of Places365 (1.6) stay below it."""


def check_data(spec: RunSpec, facts: DataFacts) -> None:
    """`DataError` for data that the recipe is not for: pixels for latents, or the other of a dataset's two splits."""
    data = facts.name or "this store"
    if spec.recipe.startswith(("imagenetlt", "placeslt")) and spec.data.tail == "exp":
        _not_cut_yet(spec, facts, data)
    if not spec.recipe.startswith(PREFIX):
        return
    if facts.codec is None:
        patch = spec.model.patch if isinstance(spec.model, SiTSpec) else 1
        tokens = (facts.height // patch) * (facts.width // patch)
        raise DataError(
            f"{spec.recipe} trains on latents, but {data} has pixels ({facts.height}x{facts.width}, {tokens:,} tokens "
            "per image): run taildiff data encode STORE --vae stabilityai/sd-vae-ft-ema --out LATENTS, then use "
            "--data LATENTS"
        )
    images = sum(facts.counts)
    if "-oltr-" in spec.recipe and spec.data.tail == "natural" and images > OLTR_IMAGES:
        raise DataError(
            f"{spec.recipe} is for the {OLTR_IMAGES:,} images of ImageNet-LT's list, but {data} has {images:,} "
            "training images: cut them with --data.tail list --data.list ImageNet_LT_train.txt, or prepare a store "
            "of the list"
        )


def _not_cut_yet(spec: RunSpec, facts: DataFacts, data: str) -> None:
    """Refuse to cut a second tail from a store that is long-tailed already, such as one of a published list."""
    largest, smallest = max(facts.counts), min(facts.counts)
    if largest > LONG_TAILED * smallest:
        other = f" ({PREFIX}oltr-sit-s2 does)" if spec.recipe.startswith(PREFIX) else ""
        raise DataError(
            f"{spec.recipe} cuts a tail from all images, but {data} is long-tailed already ({largest:,} to "
            f"{smallest:,} images per class), like a store of a published list: add --data.tail natural to use all of "
            f"it{other}"
        )
