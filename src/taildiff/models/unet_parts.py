"""The parts of diffusers' UNet2DModel, computed with less work; parameters and results are the same, up to rounding.

upsampling   y = conv3x3(nearest2(x)) repeats each pixel four times. Each of the four outputs of a pixel sees 2x2
             inputs only, under sums of the kernel's entries: one 2x2 convolution with 4 C' channels on the small
             image, then a pixel shuffle. 16 products instead of 36 per pixel of x and pair of channels.
shortcuts    a 1x1 convolution is a matrix product over the channels.
residuals    are not divided by an output scale of 1, and the SiLU of the embedding is taken once for all blocks.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def residual(block: Any, x: Tensor, active: Tensor) -> Tensor:
    """`ResnetBlock2D` on x (n, C, H, W) and SiLU(embedding) (n, E)."""
    h = block.conv1(F.silu(block.norm1(x))).add_(block.time_emb_proj(active)[:, :, None, None])
    h = block.conv2(block.dropout(F.silu(block.norm2(h))))
    return h.add_(x if block.conv_shortcut is None else pointwise(x, block.conv_shortcut))


def pointwise(x: Tensor, conv: Any) -> Tensor:
    """A 1x1 convolution."""
    weight = conv.weight.flatten(1).expand(len(x), -1, -1)
    return torch.baddbmm(conv.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


def attention(block: Any, x: Tensor) -> Tensor:
    """`Attention` over the pixels of x (n, C, H, W), added to x."""
    tokens = block.group_norm(x.flatten(2)).transpose(1, 2)  # (n, H W, C)
    q, k, v = (f(tokens).unflatten(2, (block.heads, -1)).transpose(1, 2) for f in (block.to_q, block.to_k, block.to_v))
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return x + block.to_out[0](out).transpose(1, 2).unflatten(2, x.shape[2:])


def upsampled(x: Tensor, conv: Any) -> Tensor:
    """conv(x with each pixel repeated 2x2), conv of 3x3: (n, C, H, W) to (n, C', 2 H, 2 W)."""
    kernel = _phases(_phases(conv.weight)).flatten(0, 2)  # (C', 2, 2, C, 2, 2) to (4 C', C, 2, 2)
    shuffled = F.pixel_shuffle(F.conv2d(x, kernel, conv.bias.repeat_interleave(4), padding=1), 2)
    return shuffled[:, :, 1:-1, 1:-1]  # the outermost pixels see padding alone


def _phases(weight: Tensor) -> Tensor:
    """The kernels of odd and even outputs, stacked as dimension 1; the three entries of dimension 3 become two."""
    first, second, third = weight.unbind(3)
    odd, even = torch.stack([first + second, third], 3), torch.stack([first, second + third], 3)
    return torch.stack([odd, even], 1)
