"""Specs of data: what a model needs to know of it, and which part of it a run trains on in which order."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Spec


class CodecFacts(Spec):
    """The VAE between images and latents z = (code - shift) scaling; kept with latents and with weights."""

    source: str
    """Where it was loaded from: a folder, or a name on the Hugging Face hub."""
    kind: Literal["AutoencoderKL", "AutoencoderTiny"]
    """Its class in diffusers."""
    hash: str
    """sha256 over its parameters and all of its config that decides what it computes."""
    channels: Annotated[int, Field(ge=1)]
    """Of a latent."""
    height: Annotated[int, Field(ge=1)]
    """Of a latent."""
    width: Annotated[int, Field(ge=1)]
    """Of a latent."""
    scaling: Annotated[float, Field(gt=0)]
    shift: float = 0.0


class DataFacts(Spec):
    """What a model needs to know of a store; kept in every weights file, so that sampling needs no data."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    channels: int
    """1 grey, 3 colour."""
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    """Images for training in each class, before any tail is cut."""
    name: str = ""
    """The source's name, for titles."""
    codec: CodecFacts | None = None
    """The VAE, where the network works on latents; None: on the pixels themselves."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the network works on: latents, or pixels."""
        inner = self.codec or self
        return inner.channels, inner.height, inner.width

    @property
    def classes(self) -> int:
        """Number of classes C; labels are 0..C-1 and C itself is the null label."""
        return len(self.class_names)


class DataSpec(Spec):
    """Which images are trained on and in which order; the store itself is named by `--data`."""

    tail: Literal["natural", "exp", "step", "list"] = "natural"
    """`natural`: every training image; `exp`: n_k = n_max ratio^(k/(C-1)); `step`: the last classes keep n_max ratio
    (both Cao et al. 2019); `list`: the images that a file names."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Images in the rarest class over images in the commonest (used by `exp` and `step`)."""
    step_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Part of the classes that `step` makes rare: the last ones."""
    list: Path | None = None
    """A text file with `path class_id` a line, for `list`; paths as in the source of the store."""
    tail_seed: int = 0
    """Seed of the choice of images that stay."""
    min_per_class: Annotated[int, Field(ge=0)] = 0
    """Keep at least so many images of each class; 0 refuses a tail that leaves a class empty."""
    resample: Annotated[float, Field(gt=0, le=1)] | None = None
    """Batch resampling (CCUA): draw class of rank k with p ~ f^(k/(C-1)); 1 is balanced; None shuffles by epochs."""
    resample_power: Annotated[float, Field(ge=0, le=1)] | None = None
    """The other law: draw a class of n images with p ~ n^power; 0 is balanced, 1 natural."""
    flip: bool = False
    """Mirror each image with probability one half; off for digits and letters."""

    @model_validator(mode="after")
    def _one_law(self) -> Self:
        if self.resample is not None and self.resample_power is not None:
            raise ValueError("resample and resample_power are two laws for one thing: give one of them")
        return self

    @model_validator(mode="after")
    def _list_and_file(self) -> Self:
        if (self.tail == "list") != (self.list is not None):
            raise ValueError("tail list and list FILE belong together: --data.tail list --data.list FILE")
        return self
