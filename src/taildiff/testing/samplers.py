"""The contract of a sampler, against the exact denoiser of a Gaussian."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from taildiff import build
from taildiff.diffusion.guidance import Network
from taildiff.diffusion.prediction import target
from taildiff.diffusion.process import DDPM, Flow, Process, Times
from taildiff.diffusion.samplers.base import ImageNoise, Predict, Sampler, predictor, trajectory
from taildiff.rng import stream
from taildiff.spec import SamplingSpec
from taildiff.testing.base import close, require


def check_sampler(make: Callable[[Process], Sampler], *, steps: int = 200) -> None:
    """Check a sampler, made for a process, against the exact denoiser of a Gaussian on DDPM and Flow.

    `steps`: so many that its error is below 3 % of the spread; stochastic samplers need up to 1,000.
    """
    for process in (DDPM(), Flow()):
        name = f"{type(make(process)).__name__} on {type(process).__name__}"
        _check_moments(name, make(process), process, steps)
        _check_steps(name, make(process), process)
        _check_independence(name, make, process)
        _check_state(name, make(process), process)


def exact_gaussian(process: Process, mean: Callable[[Tensor], Tensor], variance: float) -> Network:
    """The perfect network for data ~ N(mean(y), variance), float64.

    x0 = mean + alpha v/(alpha² v + sigma²) (x - alpha mean)
    """

    def network(x: Tensor, s: Tensor, y: Tensor) -> Tensor:
        alpha, sigma = (c.double().view(-1, 1, 1, 1) for c in process.coefficients(s))
        mu = mean(y).double().view(-1, 1, 1, 1)
        gap = (x - alpha * mu) / (alpha**2 * variance + sigma**2)
        return target(process.prediction, mu + alpha * variance * gap, sigma * gap, alpha, sigma)

    return network


def _predict(process: Process, y: Tensor) -> Predict:
    """Of images whose mean is 0.4 for label 0, 0.2 for label 1, and whose deviation is 0.3."""
    return predictor(exact_gaussian(process, lambda y: 0.4 - 0.2 * y, 0.09), process, y, clip=False)


def _times(process: Process, steps: int) -> Times:
    """Noise levels that suit all step rules."""
    return build.times(SamplingSpec(steps=steps, spacing="power"), process)


def _normal(seed: int, *shape: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, dtype=torch.float64, generator=generator)


def _check_moments(name: str, sampler: Sampler, process: Process, steps: int) -> None:
    *_, x = trajectory(
        sampler, _times(process, steps), _predict(process, torch.zeros(64, dtype=torch.long)), _normal(0, 64, 1, 16, 16)
    )
    mean, std = x.mean().item(), x.std().item()
    require(
        abs(mean - 0.4) < 0.01 and abs(std / 0.3 - 1) < 0.03,  # standard error of the mean 0.0023
        f"{name}: images of a Gaussian with mean 0.4 and deviation 0.3 have mean {mean:.3f} and deviation {std:.3f}: "
        "check the coefficients, or pass more `steps`",
    )


def _check_steps(name: str, sampler: Sampler, process: Process) -> None:
    """Each step, given twice and between steps of another trajectory, returns the same and changes no argument."""
    predict, other_predict = (_predict(process, torch.full((3,), label)) for label in (0, 1))
    start, other = _normal(1, 3, 1, 4, 4)(), _normal(2, 3, 1, 4, 4)()
    x, state, other_state = start, None, None
    for position, (s, s_next) in enumerate(pairwise(_times(process, 12)[:-1])):
        assert s is not None
        assert s_next is not None
        before = x.clone()
        first, state_first = sampler.step(x, s, s_next, predict, _normal(position + 3, *x.shape), state)
        require(torch.equal(x, before), f"{name}: step changes x in place; return a new tensor")
        require(first.shape == x.shape, f"{name}: step returns the shape {tuple(first.shape)} for {tuple(x.shape)}")
        other, other_state = sampler.step(other, s, s_next, other_predict, _normal(0, *x.shape), other_state)
        again, _ = sampler.step(x, s, s_next, predict, _normal(position + 3, *x.shape), state)
        require(
            torch.equal(first, again),
            f"{name}: the same step gives other images the second time: return everything that a step carries to the "
            "next as `state`, keep nothing on the sampler, change no state in place, and draw noise from `noise` only",
        )
        x, state = first, state_first


def _check_independence(name: str, make: Callable[[Process], Sampler], process: Process) -> None:
    def images(seeds: list[int], labels: list[int]) -> Tensor:
        draw = ImageNoise([stream(seed, "image") for seed in seeds], (1, 4, 4))
        predict = _predict(process, torch.tensor(labels))
        *_, x = trajectory(make(process), _times(process, 12), predict, lambda: draw().double())
        return x

    together, alone = images([1, 2, 3], [0, 1, 1]), images([2], [1])
    require(
        close(together[1:2], alone, 1e-9),
        f"{name}: an image depends on the others in its batch: step sizes and norms must be per image",
    )


def _check_state(name: str, sampler: Sampler, process: Process) -> None:
    """The state of some images of a batch, cut out of its tensors, is the state that these images have alone."""
    labels, rows = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([3, 1])
    x, state = _normal(1, 5, 1, 4, 4)(), None
    noises = [_normal(seed, 5, 1, 4, 4)() for seed in range(10)]
    for noise, (s, s_next) in zip(noises, pairwise(_times(process, 12)[:-1]), strict=False):
        assert s is not None
        assert s_next is not None
        own = state if state is None else _rows_of(state, rows, len(x))
        try:
            part = sampler.step(x[rows], s, s_next, _predict(process, labels[rows]), lambda z=noise: z[rows], own)[0]
        except (RuntimeError, IndexError):  # of shapes that do not fit
            part = torch.empty(0)
        x, state = sampler.step(x, s, s_next, _predict(process, labels), lambda z=noise: z, state)
        require(
            close(part, x[rows], 1e-9),
            f"{name}: with some images of a batch and their part of the state, a step gives other images: keep what "
            "differs between images in tensors whose first dimension is the batch, and what does not as numbers",
        )


def _rows_of(state: Any, rows: Tensor, n: int) -> Any:
    """The state of some of n images: rows of its tensors, at any depth of tuples, lists and dictionaries."""
    match state:
        case Tensor():
            return state[rows] if state.ndim and len(state) == n else state
        case dict():
            return {key: _rows_of(value, rows, n) for key, value in state.items()}
        case tuple() if hasattr(state, "_fields"):
            return type(state)(*(_rows_of(value, rows, n) for value in state))
        case tuple() | list():
            return type(state)(_rows_of(value, rows, n) for value in state)
        case _:
            return state
