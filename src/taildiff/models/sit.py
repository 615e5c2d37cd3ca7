"""SiT and DiT: a transformer on patches, conditioned by adaLN-Zero (Peebles & Xie 2023, sec. 3; Ma et al. 2024).

    tokens = Linear(patches) + fixed 2-D sin-cos positions
    c = MLP(sinusoids of t) + table[y], one row per class and one for "no label"
    block: x += gate1 * Attention(norm(x)(1 + scale1) + shift1); x += gate2 * MLP(norm(x)(1 + scale2) + shift2),
           shifts, scales and gates from Linear(SiLU(c)), zero at the start
    out = Linear(norm(x)(1 + scale) + shift), unpatchified; with `learn_sigma` only its first half of channels is used

Parameters have the names of the official checkpoints. SiT's own time is 1 - s and its velocity runs from noise to data,
so that ours is its negative; DiT embeds the integer t = 1000 s; REPA (Yu et al. 2025) embeds s itself, and its velocity
is ours. Frequencies are 10,000^(-i/128); networks trained by diffusers have 10,000^(-i/127).
"""

import math
import re
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taildiff.errors import SpecError, unknown
from taildiff.models.denoiser import Denoiser, Output

FREQUENCIES = 256


class SiT(Denoiser):
    """Taps: `block.i` are the output tokens (n, N, D) of block i (from 0), `depth.f` those of block floor(f depth).

    `middle` is block depth // 4, as in CCUA's release.
    """

    def __init__(
        self,
        size: tuple[int, int],
        image_channels: int,
        classes: int,
        depth: int,
        width: int,
        heads: int,
        patch: int,
        learn_sigma: bool = False,
        embed: Literal["sit", "dit", "repa"] = "sit",
        checkpointing: bool = False,
        frequencies: Literal[128, 127] = 128,
    ):
        super().__init__()
        if size[0] % patch or size[1] % patch:
            raise SpecError(f"model.patch {patch} does not divide the network's input, {size[0]}x{size[1]}")
        if width % heads or width % 4:
            raise SpecError(f"model.width {width} must be divisible by model.heads {heads} and by 4")
        self.classes, self.embed, self.checkpointing = classes, embed, checkpointing
        self.patch, self.image_channels, self.grid = patch, image_channels, (size[0] // patch, size[1] // patch)
        self.tap_names = (*(f"block.{i}" for i in range(depth)), "middle")
        out_channels = image_channels * (2 if learn_sigma else 1)
        self.x_embedder = _Patches(image_channels, width, patch)
        self.t_embedder = _Time(width, frequencies)
        self.y_embedder = _Labels(classes + 1, width)
        self.pos_embed = nn.Parameter(positions(self.grid, width)[None], requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_layer = _Final(width, patch * patch * out_channels)
        self._initialise()

    def width(self, tap: str) -> int:
        """See `Denoiser.width`."""
        self.check_taps([tap])
        return self.pos_embed.shape[-1]

    def place(self, tap: str) -> str:
        """See `Denoiser.place`."""
        depth = len(self.blocks)
        if tap == "middle":
            return f"block.{depth // 4}"
        if (match := re.fullmatch(r"block\.(\d+)", tap)) and int(match[1]) < depth:
            return f"block.{int(match[1])}"
        if match := re.fullmatch(r"depth\.(0?\.\d+|0|1)", tap):
            return f"block.{min(int(float(match[1]) * depth), depth - 1)}"
        raise SpecError(unknown("tap", tap, [*self.tap_names, "depth.0.25"]))

    def forward(self, x_s: Tensor, s: Tensor, y: Tensor, taps: Sequence[str] = (), full: int | None = None) -> Output:
        """See `Denoiser.forward`."""
        recorder = self.recorder(taps, len(x_s), full)
        c = self.t_embedder(self._time(s)) + self.y_embedder(y)  # (n, D)
        x = self.x_embedder(x_s) + self.pos_embed  # (n, N, D)
        for i, block in enumerate(self.blocks):
            x, c = recorder.keep(x, c)
            x = checkpoint(block, x, c, use_reentrant=False) if self._checkpoints() else block(x, c)
            if recorder.record(f"block.{i}", x):
                return recorder.output()
        return recorder.output(self._image(self.final_layer(*recorder.keep(x, c))))

    def _time(self, s: Tensor) -> Tensor:
        """What is embedded for noise levels (n,)."""
        match self.embed:
            case "sit":
                return 1 - s
            case "dit":
                return 1000 * s
            case _:  # repa
                return s

    def _checkpoints(self) -> bool:
        return self.checkpointing and self.training and torch.is_grad_enabled()

    def _image(self, tokens: Tensor) -> Tensor:
        """(n, N, patch² C') -> (n, C, H, W)."""
        (rows, columns), p = self.grid, self.patch
        x = tokens.unflatten(1, (rows, columns)).unflatten(3, (p, p, -1))  # (n, rows, columns, p, p, C')
        image = x.permute(0, 5, 1, 3, 2, 4).reshape(len(x), -1, rows * p, columns * p)[:, : self.image_channels]
        return -image if self.embed == "sit" else image

    def _initialise(self) -> None:
        """As the official code: Xavier for linear maps, N(0, 0.02²) for embeddings, zero at the end of residuals."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.flatten(1))
        if self.x_embedder.proj.bias is not None:
            nn.init.zeros_(self.x_embedder.proj.bias)
        for weight in (self.y_embedder.embedding_table.weight, *self.t_embedder.weights):
            nn.init.normal_(weight, std=0.02)
        starts = [block.adaLN_modulation[-1] for block in self.blocks if isinstance(block, Block)]
        for last in (*starts, self.final_layer.linear, self.final_layer.adaLN_modulation[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)


class Block(nn.Module):
    """Attention and MLP between adaptive norms."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = _Attention(width, heads)
        self.mlp = _MLP(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Tokens (n, N, D), condition (n, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(_norm(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(_norm(x) * (1 + scale2) + shift2)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (n, heads, N, D/heads)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class _Patches(nn.Module):
    def __init__(self, channels: int, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _Time(nn.Module):
    def __init__(self, width: int, frequencies: int):
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    @property
    def weights(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.mlp.named_parameters() if name.endswith("weight")]

    def forward(self, t: Tensor) -> Tensor:
        place = torch.arange(FREQUENCIES // 2, device=t.device, dtype=torch.float32)
        frequency = torch.exp(-math.log(10_000) * place / self.frequencies)
        angle = t.float()[:, None] * frequency
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1).to(self.weights[0].dtype))


class _Labels(nn.Module):
    def __init__(self, rows: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class _Final(nn.Module):
    def __init__(self, width: int, out: int):
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        return self.linear(_norm(x) * (1 + scale) + shift)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed sin-cos positions (rows columns, D): the first half of D for the column, the second for the row."""

    def axis(place: Tensor) -> Tensor:
        frequency = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
        angle = place.flatten()[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (N, D/2)

    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    return torch.cat([axis(columns), axis(rows)], dim=1).float()
