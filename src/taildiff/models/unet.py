"""The U-Net of DDPM (Ho et al. 2020, appendix B): diffusers' UNet2DModel as a `Denoiser`.

The forward pass is written out, because UNet2DModel.forward can neither return inner activations nor stop early, and
takes more work (see `unet_parts`); parameters have the names of UNet2DModel. The noise level is embedded as 1000 s in
float32.

The network starts near zero, as DDPM's releases do: a gain of 1e-5 on the last convolution, on the second one of each
residual block and on the attention's output. diffusers alone starts with torch's default for all of them.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from taildiff.errors import SpecError
from taildiff.models.denoiser import Denoiser, Output
from taildiff.models.unet_parts import attention, residual, upsampled


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
        sinusoids: Literal["cos-sin", "sin-cos"] = "cos-sin",
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
            norm_num_groups=groups or groups_of(channels, group_channels),
            attention_head_dim=head_channels,  # None: one head
            norm_eps=norm_eps,
            downsample_padding=downsample_padding,
            flip_sin_to_cos=sinusoids == "cos-sin",
            freq_shift=0 if sinusoids == "cos-sin" else 1,
            dropout=dropout,
            num_class_embeds=classes + 1,
        )
        if zero_init:
            self._zero_init()

    def _zero_init(self) -> None:
        """Scale the layers that add to a residual path, and the last one, by 1e-5; their biases become 0."""
        last = [m.conv2 for m in self.net.modules() if isinstance(m, ResnetBlock2D)]
        last += [m.to_out[0] for m in self.net.modules() if isinstance(m, Attention)]  # pyright: ignore[reportOptionalSubscript]
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
        embedding = net.time_embedding(net.time_proj(1000 * s.float()).to(x_s.dtype)) + net.class_embedding(y)
        active = F.silu(embedding)
        h = net.conv_in(x_s)
        skips = [h]
        for level, block in enumerate(net.down_blocks):
            for resnet, mixing in zip(block.resnets, _attentions(block), strict=True):
                h = residual(resnet, h, active)
                h = h if mixing is None else attention(mixing, h)
                skips.append(h)
            if recorder.record(f"down.{level}", h):
                return recorder.output()
            if block.downsamplers is not None:
                h = block.downsamplers[0](h)
                skips.append(h)
            h, active, *skips = recorder.keep(h, active, *skips)
        first, last = net.mid_block.resnets
        h = residual(last, attention(net.mid_block.attentions[0], residual(first, h, active)), active)
        if recorder.record("middle", h):
            return recorder.output()
        h, active, *skips = recorder.keep(h, active, *skips)
        for level, block in zip(reversed(range(len(net.up_blocks))), net.up_blocks, strict=True):
            for resnet, mixing in zip(block.resnets, _attentions(block), strict=True):
                h = residual(resnet, torch.cat([h, skips.pop()], 1), active)
                h = h if mixing is None else attention(mixing, h)
            if block.upsamplers is not None:
                h = upsampled(h, block.upsamplers[0].conv)
            if recorder.record(f"up.{level}", h):
                return recorder.output()
            h, active, *skips = recorder.keep(h, active, *skips)
        return recorder.output(net.conv_out(net.conv_act(net.conv_norm_out(h))))


def _attentions(block: Any) -> list[Any]:
    """The attention behind each residual block of a level, None where there is none."""
    return list(block.attentions) if hasattr(block, "attentions") else [None] * len(block.resnets)


def groups_of(channels: Sequence[int], at_least: int) -> int:
    """GroupNorm groups: the most, up to 32, that divide every level's channels and hold `at_least` channels each."""
    common = math.gcd(32, *channels)
    return max((g for g in range(1, common + 1) if common % g == 0 and min(channels) // g >= at_least), default=1)
