"""The networks' specs; `build.denoiser` builds them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Count, CountOrZero, Positive, Spec


class NetworkSpec(Spec):
    """What every network's settings have."""

    @property
    def fewest_parameters(self) -> int:
        """A lower bound, so that a network that cannot fit into memory is refused before it is built; 0 for none."""
        return 0


class UNetSpec(NetworkSpec):
    """The U-Net of DDPM (diffusers' UNet2DModel)."""

    kind: Literal["unet"] = "unet"
    """The network: unet or sit."""
    channels: Annotated[tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...], Field(min_length=1)] = (16, 32, 64)
    """Channels per level, from full resolution down; each level halves the size."""
    blocks: Count = 1
    """Residual blocks per level."""
    attention: tuple[CountOrZero, ...] = ()
    """Levels with self-attention (0 is full resolution); the middle block always has it. [default: none]"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in the residual blocks."""
    group_channels: Count = 1
    """Channels per GroupNorm group, at least; there are at most 32 groups."""
    zero_init: bool = True
    """Start near zero: scale the last convolution, and the last one of each block, by 1e-5."""
    groups: Count | None = None
    """GroupNorm groups. [default: the most, up to 32, that group_channels allows]"""
    head_channels: Count | None = None
    """Channels per attention head. [default: one head]"""
    norm_eps: Positive = 1e-5
    """Added to the variance in GroupNorm."""
    downsample_padding: Literal[0, 1] = 1
    """Padding of downsampling convolutions: on all sides (1), or right and below (0), as in DDPM's own code."""
    sinusoids: Literal["cos-sin", "sin-cos"] = "cos-sin"
    """Embedding of noise levels: cosines first (diffusers' default), or sines first with DDPM's own frequencies."""

    @property
    def fewest_parameters(self) -> int:
        """A lower bound: of each block, one convolution of 3x3."""
        return self.blocks * sum(9 * channels**2 for channels in self.channels)

    @model_validator(mode="after")
    def _divides_channels(self) -> Self:
        for name, divisor in (("groups", self.groups), ("head_channels", self.head_channels)):
            if divisor and (wrong := [channels for channels in self.channels if channels % divisor]):
                raise ValueError(f"{name} {divisor} does not divide {wrong[0]}, one of the channels")
        return self

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        wrong = [level for level in self.attention if level >= len(self.channels)]
        if wrong:
            levels = f"levels 0..{len(self.channels) - 1}"
            raise ValueError(f"attention is at level {wrong[0]}, but channels has only {levels}: change one of them")
        return self


class SiTSpec(NetworkSpec):
    """SiT or DiT: a transformer on patches. Depth/width/heads: S 12/384/6, B 12/768/12, L 24/1024/16, XL 28/1152/16."""

    kind: Literal["sit"] = "sit"
    """The network: unet or sit."""
    depth: Count = 12
    """Number of blocks."""
    width: Annotated[int, Field(ge=8, multiple_of=4)] = 384
    """Token dimension."""
    heads: Count = 6
    """Attention heads."""
    patch: Count = 2
    """Side of a patch in pixels of the image or latent."""
    learn_sigma: bool = False
    """Double the output channels and ignore the second half, as official checkpoints do."""
    embed: Literal["sit", "dit", "repa"] = "sit"
    """Time input: SiT's 1-s, DiT's integer 1000 s, or REPA's s (whose velocity also has the other sign)."""
    checkpointing: bool = False
    """Recompute blocks in the backward pass: less memory, more time."""
    frequencies: Literal[128, 127] = 128
    """Time frequencies 10000^(-i/128), as official checkpoints have them, or i/127, as diffusers' own DiT."""

    @property
    def fewest_parameters(self) -> int:
        """A lower bound: of each block, attention and the layers after it."""
        return self.depth * 12 * self.width**2


class ModelHints(Spec):
    """What a file of parameters alone does not tell about a SiT or DiT."""

    embed: Literal["sit", "dit", "repa"] | None = None
    """Whose network it is. [default: REPA's if it has their projectors, else SiT's]"""
    heads: Count | None = None
    """Attention heads. [default: as published: 6, 12, 16 and 16 for widths 384, 768, 1024 and 1152]"""
    frequencies: Literal[128, 127] | None = None
    """127 for a DiT trained by diffusers. [default: 128, as in converted official weights]"""


ModelSpec = Annotated[UNetSpec | SiTSpec, Field(discriminator="kind")]
