"""The operations of a training step, and the best rate of this machine.

Work is counted as `taildiff.training.cost` counts it. The ceiling is the best rate of large square
matrix products of a type, at torch's current `float32_matmul_precision`.
"""

import time

import torch

from taildiff.spec import DataFacts, RunSpec
from taildiff.training.cost import counted


def step_tflop(spec: RunSpec, facts: DataFacts, device: torch.device | str = "cpu") -> float:
    """Operations of one step in 1e12, forward and backward; a B + c B² in the batch B, fitted at B = 2 and 4."""
    small, large = (counted(spec, facts, n, device) for n in (2, 4))
    c = (large - 2 * small) / 8
    a = small / 2 - 2 * c
    return (a * spec.batch_size + c * spec.batch_size**2) / 1e12


def ceilings(device: str) -> dict[str, float]:
    """Best rate of square matrix products by type, in TFLOP/s."""
    sizes = (4096, 8192) if device == "cuda" else (1024, 2048)
    types = {"float32": torch.float32, "bf16": torch.bfloat16}
    rates = {name: max(_products(n, dtype, device) for n in sizes) for name, dtype in types.items()}
    if device == "cuda":
        torch.cuda.empty_cache()
    return rates


def _products(n: int, dtype: torch.dtype, device: str) -> float:
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    best, end = 0.0, time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(10 if device == "cuda" else 1):
            torch.matmul(a, b, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, (10 if device == "cuda" else 1) * 2 * n**3 / (time.perf_counter() - start) / 1e12)
    return best
