"""The contract of a network: labels, taps, rows that stop early, types."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from taildiff.errors import SpecError
from taildiff.models.denoiser import Denoiser
from taildiff.testing.base import close, raises, require, trained


def check_denoiser(make: Callable[[], Denoiser], shape: tuple[int, int, int]) -> None:
    """Check a network, made with fresh weights, on images of `shape` (C, H, W)."""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        network = trained(make).to(dtype)
        rows = torch.randn(4, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
        levels = torch.tensor([0.0, 0.3, 0.7, 1.0])
        inputs = rows, levels, torch.tensor([0, network.classes - 1, network.null_label, 0])
        _check_predictions(network, *inputs, tolerance)
        _check_taps(network, *inputs)
        _check_full(network, *inputs, tolerance)
    _check_training(trained(make), *(rows.float(), *inputs[1:]))


def _check_predictions(network: Denoiser, x: Tensor, s: Tensor, y: Tensor, tolerance: float) -> None:
    name = type(network).__name__
    require(network.null_label == network.classes, f"{name}: the null label must be C = {network.classes}")
    with torch.no_grad():
        whole = network.predict(x, s, y)
        require(
            (whole.shape, whole.dtype) == (x.shape, x.dtype) and whole.isfinite().all(),
            f"{name} predicts {tuple(whole.shape)} {whole.dtype} for {tuple(x.shape)} {x.dtype}: the prediction must "
            "have the shape and type of the images and be finite at all noise levels in [0, 1]",
        )
        require(torch.equal(whole, network.predict(x, s, y)), f"{name} is random in eval(): dropout must stop there")
        alone = torch.cat([network.predict(x[i : i + 1], s[i : i + 1], y[i : i + 1]) for i in range(len(x))])
        require(close(whole, alone, tolerance), f"{name}: a prediction depends on the other rows; use no batch norm")
        answers = [network.predict(x[:1], s[1:2], torch.tensor([k])) for k in range(network.classes + 1)]
    require(
        not any(torch.equal(a, b) for i, a in enumerate(answers) for b in answers[:i]),
        f"{name} predicts the same under two labels: embed labels 0..C, where C is the learned null label",
    )


def _check_taps(network: Denoiser, x: Tensor, s: Tensor, y: Tensor) -> None:
    name, taps = type(network).__name__, [*reversed(network.tap_names), network.tap_names[0]]
    require(len(set(network.tap_names)) == len(network.tap_names), f"{name}.tap_names has a name twice")
    with torch.no_grad():
        together, prediction = network(x, s, y, taps), network.predict(x, s, y)
        separate = [network(x, s, y, [tap]).features[0] for tap in taps]
    require(torch.equal(together.prediction, prediction), f"{name} predicts otherwise when taps are requested")
    require(
        len(together.features) == len(taps) and all(map(torch.equal, together.features, separate)),
        f"{name} must return one feature per requested tap, in that order: use `self.recorder`",
    )
    for tap, feature in zip(taps, together.features, strict=True):
        width = feature.shape[1 if feature.ndim == 4 else -1]
        require(
            len(feature) == len(x) and width == network.width(tap),
            f"{name}: the tap '{tap}' has the shape {tuple(feature.shape)}, but {len(x)} rows of "
            f"width('{tap}') = {network.width(tap)} channels are needed: (n, D, H, W) or (n, N, D)",
        )
    for use in (lambda: network.check_taps(["no such tap"]), lambda: network(x, s, y, ["no such tap"])):
        require(raises(SpecError, use), f"{name} accepts a tap that does not exist: resolve it with `self.recorder`")


def _check_full(network: Denoiser, x: Tensor, s: Tensor, y: Tensor, tolerance: float) -> None:
    """Rows from `full` on change nothing, and stop at the deepest tap."""
    name = type(network).__name__
    with torch.no_grad():
        for taps in ([tap] for tap in network.tap_names):
            whole = network(x, s, y, taps)
            for full in (0, 1, len(x) - 1, len(x)):
                part = network(x, s, y, taps, full)
                rows = None if part.prediction is None else len(part.prediction)
                require(
                    rows == (full or None),
                    f"{name} predicts {rows} rows with full={full}: predict the first `full` rows only (None for 0), "
                    "with `recorder.keep` after each place",
                )
                same = part.prediction is None or close(part.prediction, whole.prediction[:full], tolerance)
                require(
                    same and close(part.features[0], whole.features[0], tolerance),
                    f"{name} gives other numbers with full={full} and the tap '{taps[0]}': cut rows after the tap only",
                )
        work = [_flops(network, x, s, y, network.tap_names[0], full) for full in (0, 1, len(x))]
    require(
        work[0] < work[1] < work[2],
        f"{name} computes rows that nobody needs: after the deepest tap drop rows with `recorder.keep`, and return "
        "`recorder.output()` when `recorder.record` is true",
    )


def _flops(network: Denoiser, x: Tensor, s: Tensor, y: Tensor, tap: str, full: int) -> int:
    with FlopCounterMode(display=False) as counter:
        network(x, s, y, [tap], full)
    return counter.get_total_flops()


def _check_training(network: Denoiser, x: Tensor, s: Tensor, y: Tensor) -> None:
    name = type(network).__name__
    network.train().predict(x, s, y).square().sum().backward()
    idle = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
    require(not idle, f"{name}: the parameter {idle[:1]} gets no gradient; remove it or use it")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        require(network.predict(x, s, y).isfinite().all(), f"{name} is not finite in bfloat16 autocast")
