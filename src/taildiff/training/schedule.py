"""The learning rate: a pure function of the step, so that checkpoints need not hold it."""

import math

from taildiff.spec import OptimizerSpec


def learning_rate(spec: OptimizerSpec, step: int, steps: int) -> float:
    """The rate of step 0..steps-1: linear warm-up, then constant, or half a cosine down to 0 at `steps`."""
    if step < spec.warmup:
        return spec.lr * (step + 1) / spec.warmup
    if spec.schedule == "constant":
        return spec.lr
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - spec.warmup) / max(steps - spec.warmup, 1)))
