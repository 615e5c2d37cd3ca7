"""The layers of the U-Net, under the parameter names of diffusers' UNet2DModel; results equal its, up to rounding.

upsampling   y = conv3x3(nearest2(x)) repeats each pixel four times. Each of the four outputs of a pixel sees 2x2
             inputs only, under sums of the kernel's entries: one 2x2 convolution with 4 C' channels on the small
             image, whose channels are then interleaved. 16 products instead of 36 per pixel of x and pair of channels.
shortcuts    a 1x1 convolution is a matrix product over the channels.
embedding    its SiLU is taken once for all blocks.

Layers are made in the order in which UNet2DModel makes them, so that a seed gives the same weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sinusoids = Literal["cos-sin", "sin-cos"]


class NoiseEmbedding(nn.Module):
    """Noise levels t (n,) to embeddings (n, E): sines and cosines (Vaswani et al. 2017), then two linear layers.

    `cos-sin` has the frequencies 10000^(-i/h), i = 0 … h-1; `sin-cos`, as in DDPM's releases, 10000^(-i/(h-1)).
    """

    def __init__(self, width: int, embedding: int, sinusoids: Sinusoids):
        super().__init__()
        self.width, self.sinusoids = width, sinusoids
        self.linear_1 = nn.Linear(width, embedding)
        self.linear_2 = nn.Linear(embedding, embedding)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """The sinusoids are computed in float32 and rounded to `dtype`."""
        half = self.width // 2
        cosine_first = self.sinusoids == "cos-sin"
        exponents = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t.float()[:, None] * torch.exp(exponents / (half if cosine_first else half - 1))
        waves = (angles.cos(), angles.sin()) if cosine_first else (angles.sin(), angles.cos())
        embedding = F.pad(torch.cat(waves, 1), (0, self.width % 2)).to(dtype)
        return self.linear_2(F.silu(self.linear_1(embedding)))


class Residual(nn.Module):
    """A residual block: x (n, C, H, W) and SiLU(embedding) (n, E) to (n, C', H, W)."""

    def __init__(self, inner: int, outer: int, embedding: int, groups: int, eps: float, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inner, eps)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, outer)
        self.norm2 = nn.GroupNorm(groups, outer, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else None

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """The block's output; `active` is SiLU(embedding)."""
        h = self.conv1(F.silu(self.norm1(x))).add_(self.time_emb_proj(active)[:, :, None, None])
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h.add_(x if self.conv_shortcut is None else pointwise(x, self.conv_shortcut))


class Attention(nn.Module):
    """Self-attention over the pixels of x (n, C, H, W), added to x."""

    def __init__(self, channels: int, heads: int, groups: int, eps: float):
        super().__init__()
        self.heads = heads
        self.group_norm = nn.GroupNorm(groups, channels, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W)."""
        tokens = self.group_norm(x.flatten(2)).transpose(1, 2)  # (n, H W, C)
        q, k, v = (f(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.to_out[0](out).transpose(1, 2).unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2; with padding 0 it pads at the right and the bottom alone, as DDPM's releases."""

    def __init__(self, channels: int, padding: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C, H/2, W/2)."""
        return self.conv(x if self.conv.padding[0] else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """A 3x3 convolution of the image with each pixel repeated 2x2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C, 2 H, 2 W)."""
        return upsampled(x, self.conv)


@dataclass(frozen=True)
class Layers:
    """Makes the layers of one network; its fields are what all of them share."""

    embedding: int
    groups: int
    eps: float
    dropout: float
    head_channels: int | None
    """None: one head."""

    def residual(self, inner: int, outer: int) -> Residual:
        """From `inner` channels to `outer`."""
        return Residual(inner, outer, self.embedding, self.groups, self.eps, self.dropout)

    def attention(self, channels: int) -> Attention:
        """Over features of so many channels."""
        return Attention(channels, channels // (self.head_channels or channels), self.groups, self.eps)


class Level(nn.Module):
    """The blocks of one resolution, each with attention behind it or none, and the layer that leaves it."""

    def __init__(self, layers: Layers, widths: Sequence[tuple[int, int]], attention: bool):
        """`widths`: the blocks' input and output channels."""
        super().__init__()
        self.attentions = nn.ModuleList() if attention else None
        self.resnets = nn.ModuleList()
        for inner, outer in widths:
            self.resnets.append(layers.residual(inner, outer))
            if self.attentions is not None:
                self.attentions.append(layers.attention(outer))
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None

    def forward(self, block: int, x: Tensor, active: Tensor) -> Tensor:
        """The output of one block."""
        x = self.resnets[block](x, active)
        return x if self.attentions is None else self.attentions[block](x)


class Middle(nn.Module):
    """A residual block, attention and another residual block."""

    def __init__(self, layers: Layers, channels: int):
        super().__init__()
        self.attentions, self.resnets = nn.ModuleList(), nn.ModuleList()
        self.resnets.append(layers.residual(channels, channels))
        self.attentions.append(layers.attention(channels))
        self.resnets.append(layers.residual(channels, channels))

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """(n, C, H, W)."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x, active)), active)


def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution."""
    assert conv.bias is not None
    weight = conv.weight.flatten(1).expand(len(x), -1, -1)
    return torch.baddbmm(conv.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


def upsampled(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(x with each pixel repeated 2x2), conv of 3x3: (n, C, H, W) to (n, C', 2 H, 2 W)."""
    assert conv.bias is not None
    kernel = _phases(_phases(conv.weight)).flatten(0, 2)  # (C', 2, 2, C, 2, 2) to (4 C', C, 2, 2)
    return _Interleaved.apply(F.conv2d(x, kernel, conv.bias.repeat_interleave(4), padding=1))


class _Interleaved(torch.autograd.Function):
    """A pixel shuffle by 2 without the outermost pixels, which see padding alone: (n, 4 C, H, W) to (n, C, 2 H - 2,
    2 W - 2), in one copy each way.
    """

    @staticmethod
    def forward(ctx: Any, phases: Tensor) -> Tensor:
        n, channels, h, w = phases.shape
        out = phases.new_empty(n, channels // 4, 2 * h - 2, 2 * w - 2)
        for pixels, phase in _pairs(out, phases.unflatten(1, (-1, 2, 2))):
            pixels.copy_(phase)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (grad,) = grad_outputs
        n, channels, h, w = grad.shape
        phases = grad.new_zeros(n, channels, 2, 2, h // 2 + 1, w // 2 + 1)
        for pixels, phase in _pairs(grad, phases):
            phase.copy_(pixels)
        return phases.flatten(1, 3)


def _pairs(image: Tensor, phases: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Views of the pixels with rows and columns of one parity, and of the phase that they are."""
    pairs = [(row, column) for row in (0, 1) for column in (0, 1)]
    h, w = phases.shape[-2] - 1, phases.shape[-1] - 1
    return [(image[:, :, i::2, j::2], phases[:, :, 1 - i, 1 - j, i : h + i, j : w + j]) for i, j in pairs]


def _phases(weight: Tensor) -> Tensor:
    """The kernels of odd and even outputs, stacked as dimension 1; the three entries of dimension 3 become two."""
    first, second, third = weight.unbind(3)
    odd, even = torch.stack([first + second, third], 3), torch.stack([first, second + third], 3)
    return torch.stack([odd, even], 1)
