"""Layers of the U-Net as diffusers computes them and as taildiff does, in turns: CPU milliseconds, forward + backward.

    OMP_NUM_THREADS=1 python benchmarks/layers.py

Upsampling with its convolution, 1x1 convolutions, the optimiser of the small network, and what was tried and dropped:
convolutions and GroupNorm in torch's two layouts; convolutions to fewer channels channels-last with conversions, or as
the sum over two halves of the channels; the gradient of a convolution's input with the turned kernel. Medians of seven
rounds.
"""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taildiff.memory import keep_freed_memory
from taildiff.models.unet_parts import pointwise, upsampled

UPSAMPLING = [(64, 32, 14), (64, 64, 7), (4, 256, 16)]
"""Batch, channels, side of the small image."""
POINTWISE = [(64, 48, 16, 28), (64, 32, 16, 28), (64, 96, 32, 14), (16, 512, 256, 16)]
"""Batch, channels in and out, side."""
LAYOUTS = [(64, 16, 28), (64, 32, 14), (64, 64, 7), (4, 128, 32)]
"""Batch, channels, side."""
NARROWING = [(64, 48, 16, 28), (64, 32, 16, 28), (64, 16, 1, 28), (64, 96, 32, 14), (64, 48, 32, 14)]
"""Batch, channels in and out, side."""
TURNED = [(64, 16, 16, 28), (64, 32, 32, 14), (64, 64, 64, 7), (64, 48, 16, 28), (4, 128, 128, 32), (4, 256, 256, 8)]
"""The same."""


def in_turns(sides: Mapping[str, Callable[[], Tensor]], rounds: int = 7) -> str:
    """Forward and backward milliseconds of each side."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, forward in sides.items():
            start = time.process_time()
            out = forward()
            middle = time.process_time()
            out.backward(out.detach())
            times[name].append((middle - start, time.process_time() - middle))
    shown = []
    for name, steps in times.items():
        forward, backward = (1000 * statistics.median(part) for part in zip(*steps[1:], strict=True))
        shown.append(f"{name} {forward:.2f} + {backward:.2f}")
    return ", ".join(shown)


def narrowing(x: Tensor, conv: nn.Conv2d) -> dict[str, Callable[[], Tensor]]:
    """Three ways to compute a 3x3 convolution."""
    half = x.shape[1] // 2

    def halves() -> Tensor:
        first = F.conv2d(x[:, :half], conv.weight[:, :half], conv.bias, padding=1)
        return first + F.conv2d(x[:, half:], conv.weight[:, half:], padding=1)

    last = torch.channels_last
    return {
        "as it is": lambda: conv(x),
        "channels last": lambda: conv(x.contiguous(memory_format=last)).contiguous(),
        "two halves": halves,
    }


def turned(n: int, c: int, out: int, side: int) -> str:
    """The gradient of a 3x3 convolution's input: torch's, and as a convolution."""
    x, grad, weight = torch.randn(n, c, side, side), torch.randn(n, out, side, side), torch.randn(out, c, 3, 3)
    only_input = [True, False, False]
    sides = {
        "torch": lambda: torch.ops.aten.convolution_backward(
            grad, x, weight, [out], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, only_input
        )[0],
        "turned kernel": lambda: F.conv2d(grad, weight.transpose(0, 1).flip(2, 3), padding=1),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(8):
        for name, gradient in sides.items():
            start = time.process_time()
            gradient()
            times[name].append(time.process_time() - start)
    return ", ".join(f"{name} {1000 * statistics.median(own[1:]):.2f}" for name, own in times.items())


def optimiser() -> str:
    """AdamW in a loop over parameters and in one kernel: milliseconds on 155 parameters, 0.64 M numbers."""
    found = []
    for name, fused in (("loop", False), ("fused", True)):
        parameters = [nn.Parameter(torch.randn(4110)) for _ in range(155)]
        steps = torch.optim.AdamW(parameters, fused=fused, foreach=False)
        times = []
        for _ in range(8):
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            start = time.process_time()
            steps.step()
            times.append(time.process_time() - start)
        found.append(f"{name} {1000 * statistics.median(times[1:]):.2f}")
    return ", ".join(found)


def main() -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    for n, c, side in UPSAMPLING:
        x, conv = torch.randn(n, c, side, side, requires_grad=True), nn.Conv2d(c, c, 3, padding=1)
        sides = {"repeated": lambda x=x, conv=conv: conv(F.interpolate(x, scale_factor=2.0))}
        print(f"upsampling {n}x{c}x{side}²: {in_turns(sides | {'phases': lambda x=x, conv=conv: upsampled(x, conv)})}")
    for n, c, out, side in POINTWISE:
        x, conv = torch.randn(n, c, side, side, requires_grad=True), nn.Conv2d(c, out, 1)
        sides = {"convolution": lambda x=x, conv=conv: conv(x), "product": lambda x=x, conv=conv: pointwise(x, conv)}
        print(f"1x1 {n}x{c}x{side}² to {out}: {in_turns(sides)}")
    for n, c, side in LAYOUTS:
        for what, layer in (("convolution", nn.Conv2d(c, c, 3, padding=1)), ("GroupNorm", nn.GroupNorm(16, c))):
            sides = {}
            for name, layout in (("channels first", torch.contiguous_format), ("last", torch.channels_last)):
                x = torch.randn(n, c, side, side).to(memory_format=layout).requires_grad_()
                sides[name] = lambda x=x, layer=layer: layer(x)
            print(f"{what} {n}x{c}x{side}²: {in_turns(sides)}")
    for n, c, out, side in NARROWING:
        x, conv = torch.randn(n, c, side, side, requires_grad=True), nn.Conv2d(c, out, 3, padding=1)
        print(f"3x3 {n}x{c}x{side}² to {out}: {in_turns(narrowing(x, conv))}")
    for n, c, out, side in TURNED:
        print(f"gradient of the input, 3x3 {n}x{c}x{side}² to {out}: {turned(n, c, out, side)}")
    print(f"AdamW: {optimiser()}")


if __name__ == "__main__":
    main()
