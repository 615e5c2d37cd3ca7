"""Specs of data: what a model must know about a store, and which images a run trains on, in which order."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Count, CountOrZero, Positive, Spec


class CodecFacts(Spec):
    """The VAE between images and latents z = (code - shift) scaling; stored with latents and weights."""

    source: str
    """A folder, or a name on the Hugging Face Hub."""
    kind: Literal["AutoencoderKL", "AutoencoderTiny"]
    """Its class in diffusers."""
    hash: str
    """sha256 of its parameters and of the config fields that affect its output."""
    channels: Count
    """Channels of a latent."""
    height: Count
    """Height of a latent."""
    width: Count
    """Width of a latent."""
    scaling: Positive
    shift: float = 0.0


class DataFacts(Spec):
    """What a model must know about a store; stored in every weights file, so sampling needs no data."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    channels: int
    """1 grey, 3 colour."""
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    """Training images per class, before any tail is cut."""
    name: str = ""
    """The data set's name, for titles."""
    codec: CodecFacts | None = None
    """The VAE if the network works on latents; None if it works on pixels."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the network's input: latents or pixels."""
        inner = self.codec or self
        return inner.channels, inner.height, inner.width

    @property
    def classes(self) -> int:
        """Number of classes C; labels are 0..C-1 and C itself is the null label."""
        return len(self.class_names)


class DataSpec(Spec):
    """Which images of the store are trained on, and in which order; `--data` names the store."""

    tail: Literal["natural", "exp", "step", "list"] = "natural"
    """Which images are kept. `natural`: all training images; `exp`: n_k = n_max ratio^(k/(C-1)); `step`: the last
    classes keep n_max ratio (both Cao et al. 2019); `list`: the images listed in a file."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Images of the rarest class divided by those of the most common (`exp` and `step`)."""
    step_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the classes that `step` makes rare (the last ones)."""
    list: Path | None = None
    """Text file for `list`, one `path class_id` per line; paths as in the store's source. [default: no list]"""
    tail_seed: int = 0
    """Seed of the choice of images to keep."""
    min_per_class: CountOrZero = 0
    """Minimum images per class; at 0, a tail that empties a class is an error."""
    resample: Annotated[float, Field(gt=0, le=1)] | None = None
    """Class resampling (CCUA): p ~ f^(k/(C-1)) for the class of rank k; 1 is balanced. [default: shuffled
    by epoch]"""
    resample_power: Annotated[float, Field(ge=0, le=1)] | None = None
    """Class resampling by size instead: p ~ n^power for a class of n images; 0 is balanced, 1 natural. [default: not
    by size]"""
    flip: bool = False
    """Mirror each image with probability 0.5; not for digits and letters."""

    @model_validator(mode="after")
    def _one_law(self) -> Self:
        if self.resample is not None and self.resample_power is not None:
            raise ValueError("resample and resample_power exclude each other: set only one")
        return self

    @model_validator(mode="after")
    def _list_and_file(self) -> Self:
        if (self.tail == "list") != (self.list is not None):
            raise ValueError("tail list and a list file need each other: use --data.tail list --data.list FILE")
        return self
