"""The networks' specs; `build.denoiser` builds them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Count, CountOrZero, Spec


class UNetSpec(Spec):
    """The U-Net of DDPM (diffusers' UNet2DModel)."""

    kind: Literal["unet"] = "unet"
    channels: Annotated[tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...], Field(min_length=1)] = (16, 32, 64)
    """Channels per level, from full resolution down; each level halves the size."""
    blocks: Count = 1
    """Residual blocks per level."""
    attention: tuple[CountOrZero, ...] = ()
    """Levels with self-attention (0 is full resolution); the middle block always has it."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    group_channels: Count = 1
    """Channels per GroupNorm group, at least; there are at most 32 groups."""
    zero_init: bool = True
    """Start near zero: scale the last convolution, and the last one of each block, by 1e-5."""

    @property
    def fewest_parameters(self) -> int:
        """A lower bound: of each block, one convolution of 3x3."""
        return self.blocks * sum(9 * channels**2 for channels in self.channels)

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        wrong = [level for level in self.attention if level >= len(self.channels)]
        if wrong:
            levels = f"levels 0..{len(self.channels) - 1}"
            raise ValueError(f"attention is at level {wrong[0]}, but channels has only {levels}: change one of them")
        return self


class SiTSpec(Spec):
    """SiT or DiT: a transformer on patches. Depth/width/heads: S 12/384/6, B 12/768/12, L 24/1024/16, XL 28/1152/16."""

    kind: Literal["sit"] = "sit"
    depth: Count = 12
    """Number of blocks."""
    width: Annotated[int, Field(ge=8, multiple_of=4)] = 384
    """Token dimension."""
    heads: Count = 6
    patch: Count = 2
    """Side of a patch in pixels of the image or latent."""
    learn_sigma: bool = False
    """Double the output channels and ignore the second half, as official checkpoints do."""
    embed: Literal["sit", "dit"] = "sit"
    """Time input: SiT's 1-s, or DiT's integer 1000 s."""
    checkpointing: bool = False
    """Recompute blocks in the backward pass: less memory, more time."""

    @property
    def fewest_parameters(self) -> int:
        """A lower bound: of each block, attention and the layers after it."""
        return self.depth * 12 * self.width**2


ModelSpec = Annotated[UNetSpec | SiTSpec, Field(discriminator="kind")]
