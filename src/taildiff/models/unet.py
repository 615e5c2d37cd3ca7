"""The U-Net of DDPM (Ho et al. 2020, appendix B) as a `Denoiser`.

Its parameters have the names, the order and torch's initial values that diffusers' UNet2DModel has, and its predictions
equal that network's up to rounding. It is written out here because UNet2DModel can neither return inner activations nor
stop early, takes more work (see `unet_parts`), and takes seconds to import. The noise level is embedded as 1000 s in
float32.

The network starts near zero, as DDPM's releases do: a gain of 1e-5 on the last convolution, on the second one of each
residual block and on the attention's output. diffusers alone starts with torch's default for all of them.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taildiff.errors import SpecError
from taildiff.models.denoiser import Denoiser, Output
from taildiff.models.unet_parts import (
    Attention,
    Downsample,
    Layers,
    Level,
    Middle,
    NoiseEmbedding,
    Residual,
    Sinusoids,
    Upsample,
)


class UNet(Denoiser):
    """Taps: `down.i` and `up.i` are the output of level i (0 = full resolution), `middle` that of the middle block."""

    def __init__(
        self,
        size: tuple[int, int],
        image_channels: int,
        classes: int,
        channels: Sequence[int],
        blocks: int,
        attention: Sequence[int] = (),
        dropout: float = 0.0,
        group_channels: int = 1,
        zero_init: bool = True,
        groups: int | None = None,
        head_channels: int | None = None,
        norm_eps: float = 1e-5,
        downsample_padding: int = 1,
        sinusoids: Sinusoids = "cos-sin",
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
        groups = groups_of(channels, group_channels, groups)
        layers = Layers(4 * channels[0], groups, norm_eps, dropout, head_channels)
        self.net: Any = _Net(
            layers, image_channels, classes + 1, channels, blocks, attention, downsample_padding, sinusoids
        )
        if zero_init:
            self._zero_init()

    def _zero_init(self) -> None:
        """Scale the layers that add to a residual path, and the last one, by 1e-5; their biases become 0."""
        last = [m.conv2 for m in self.net.modules() if isinstance(m, Residual)]
        last += [m.to_out[0] for m in self.net.modules() if isinstance(m, Attention)]
        for layer in [*last, self.net.conv_out]:
            layer.weight.data.mul_(1e-5)
            nn.init.zeros_(layer.bias)

    def width(self, tap: str) -> int:
        """See `Denoiser.width`."""
        self.check_taps([tap])
        return self.channels[-1 if tap == "middle" else int(tap.split(".")[1])]

    def forward(self, x_s: Tensor, s: Tensor, y: Tensor, taps: Sequence[str] = (), full: int | None = None) -> Output:
        """See `Denoiser.forward`."""
        net, recorder = self.net, self.recorder(taps, len(x_s), full)
        active = F.silu(net.time_embedding(1000 * s.float(), x_s.dtype) + net.class_embedding(y))
        h = net.conv_in(x_s)
        skips = [h]
        for level, block in enumerate(net.down_blocks):
            for place in range(len(block.resnets)):
                h = block(place, h, active)
                skips.append(h)
            if recorder.record(f"down.{level}", h):
                return recorder.output()
            if block.downsamplers is not None:
                h = block.downsamplers[0](h)
                skips.append(h)
            h, active, *skips = recorder.keep(h, active, *skips)
        h = net.mid_block(h, active)
        if recorder.record("middle", h):
            return recorder.output()
        h, active, *skips = recorder.keep(h, active, *skips)
        for level, block in zip(reversed(range(len(net.up_blocks))), net.up_blocks, strict=True):
            for place in range(len(block.resnets)):
                h = block(place, torch.cat([h, skips.pop()], 1), active)
            if block.upsamplers is not None:
                h = block.upsamplers[0](h)
            if recorder.record(f"up.{level}", h):
                return recorder.output()
            h, active, *skips = recorder.keep(h, active, *skips)
        return recorder.output(net.conv_out(F.silu(net.conv_norm_out(h))))


class _Net(nn.Module):
    """The layers, in the order in which UNet2DModel makes and registers them; `UNet.forward` connects them."""

    def __init__(
        self,
        layers: Layers,
        image_channels: int,
        labels: int,
        channels: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        downsample_padding: int,
        sinusoids: Sinusoids,
    ):
        super().__init__()
        self.conv_in = nn.Conv2d(image_channels, channels[0], 3, padding=1)
        self.time_embedding = NoiseEmbedding(channels[0], layers.embedding, sinusoids)
        self.class_embedding = nn.Embedding(labels, layers.embedding)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for level, outer in enumerate(channels):
            widths = [(channels[max(level - 1, 0)], outer), *[(outer, outer)] * (blocks - 1)]
            self.down_blocks.append(down := Level(layers, widths, level in attention))
            if level < len(channels) - 1:
                down.downsamplers = nn.ModuleList([Downsample(outer, downsample_padding)])
        self.mid_block = Middle(layers, channels[-1])
        for level, outer in reversed(list(enumerate(channels))):
            below, skipped = channels[min(level + 1, len(channels) - 1)], channels[max(level - 1, 0)]
            inputs = [below, *[outer] * blocks]
            skips = [*[outer] * blocks, skipped]
            widths = [(a + b, outer) for a, b in zip(inputs, skips, strict=True)]
            self.up_blocks.append(up := Level(layers, widths, level in attention))
            if level > 0:
                up.upsamplers = nn.ModuleList([Upsample(outer)])
        self.conv_norm_out = nn.GroupNorm(layers.groups, channels[0], layers.eps)
        self.conv_out = nn.Conv2d(channels[0], image_channels, 3, padding=1)


def groups_of(channels: Sequence[int], at_least: int, given: int | None) -> int:
    """GroupNorm groups: `given`, or the most, up to 32, that divide all channels and hold `at_least` of them each."""
    if given is not None:
        return given
    common = math.gcd(32, *channels)
    return max((g for g in range(1, common + 1) if common % g == 0 and min(channels) // g >= at_least), default=1)
