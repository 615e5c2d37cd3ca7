"""The U-Net of DDPM (Ho et al. 2020, appendix B): diffusers' UNet2DModel behind our protocol.

Its forward pass is walked here block by block, because UNet2DModel.forward can neither return what is inside nor stop
early; the parameters and their names are those of UNet2DModel. It embeds 1000 s in float32.
"""

import math
from collections.abc import Sequence
from typing import Any

from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from taildiff.errors import SpecError
from taildiff.models.denoiser import Denoiser, Output


class UNet(Denoiser):
    """Taps: `down.i` and `up.i` are what level i (0 = full resolution) ends with, `middle` the block between."""

    def __init__(
        self,
        size: tuple[int, int],
        image_channels: int,
        classes: int,
        channels: Sequence[int],
        blocks: int,
        attention: Sequence[int] = (),
        dropout: float = 0.0,
    ):
        super().__init__()
        levels = len(channels)
        factor = 2 ** (levels - 1)
        if size[0] % factor or size[1] % factor:
            raise SpecError(
                f"model.channels has {levels} levels, which halve the image {levels - 1} times, "
                f"but {size[0]}x{size[1]} is not divisible by {factor}: "
                "use fewer levels, or prepare the data at another --size"
            )
        self.classes, self.channels = classes, tuple(channels)
        names = [f"down.{i}" for i in range(levels)], [f"up.{i}" for i in reversed(range(levels))]
        self.tap_names = (*names[0], "middle", *names[1])  # in the order of the forward pass
        kinds = ["Attn" if level in attention else "" for level in range(levels)]
        self.net: Any = UNet2DModel(
            sample_size=size,
            in_channels=image_channels,
            out_channels=image_channels,
            layers_per_block=blocks,
            block_out_channels=tuple(channels),
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            norm_num_groups=math.gcd(32, *channels),
            attention_head_dim=None,  # one head
            dropout=dropout,
            num_class_embeds=classes + 1,
        )

    def width(self, tap: str) -> int:
        """See `Denoiser.width`."""
        self.check_taps([tap])
        return self.channels[-1 if tap == "middle" else int(tap.split(".")[1])]

    def forward(self, x_s: Tensor, s: Tensor, y: Tensor, taps: Sequence[str] = (), full: int | None = None) -> Output:
        """See `Denoiser.forward`."""
        net, walk = self.net, _Walk(self.tap_names, taps, len(x_s) if full is None else full)
        embedding = net.time_embedding(net.time_proj(1000 * s.float()).to(x_s.dtype)) + net.class_embedding(y)
        h = net.conv_in(x_s)
        skips: tuple[Tensor, ...] = (h,)
        for level, block in enumerate(net.down_blocks):
            h, passed = block(h, embedding)
            skips += passed
            # the last one is already downsampled for the next level, where there is one
            walk.record(f"down.{level}", passed[-1 if block.downsamplers is None else -2])
            if walk.finished:
                return walk.output(None)
            h, embedding, *kept = walk.cut(h, embedding, *skips)
            skips = tuple(kept)
        h = net.mid_block(h, embedding)
        walk.record("middle", h)
        if walk.finished:
            return walk.output(None)
        h, embedding, *kept = walk.cut(h, embedding, *skips)
        skips = tuple(kept)
        for level, block in zip(reversed(range(len(net.up_blocks))), net.up_blocks, strict=True):
            n = len(block.resnets)
            skips, passed = skips[:-n], skips[-n:]
            h = block(h, passed, embedding)
            walk.record(f"up.{level}", h)
            if walk.finished:
                return walk.output(None)
            h, embedding, *kept = walk.cut(h, embedding, *skips)
            skips = tuple(kept)
        return walk.output(net.conv_out(net.conv_act(net.conv_norm_out(h))))


class _Walk:
    """Collects taps on the way and drops the rows that need nothing deeper."""

    def __init__(self, names: Sequence[str], taps: Sequence[str], full: int):
        self.taps, self.full = taps, full
        self.deepest = max(taps, key=names.index) if taps else None
        self.found: dict[str, Tensor] = {}

    def record(self, name: str, activation: Tensor) -> None:
        if name in self.taps:
            self.found[name] = activation

    @property
    def passed_deepest(self) -> bool:
        return self.deepest is None or self.deepest in self.found

    @property
    def finished(self) -> bool:
        return self.full == 0 and self.passed_deepest

    def cut(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t[: self.full] for t in tensors) if self.passed_deepest else tensors

    def output(self, prediction: Tensor | None) -> Output:
        return Output(prediction, tuple(self.found[tap] for tap in self.taps))
