"""What a model predicts while it samples: precision, guidance and repellency, for the labels of one batch."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from taildiff import build
from taildiff.data.class_names import position
from taildiff.data.longtail import Groups, Split
from taildiff.diffusion.guidance import Network, autoguided, guided
from taildiff.diffusion.samplers.base import Predict, predictor
from taildiff.errors import SpecError, unknown
from taildiff.models.denoiser import Denoiser
from taildiff.run.null_label import check_guidance
from taildiff.sampling.model import TrainedModel
from taildiff.sampling.repellency import Repellency
from taildiff.spec import SamplingSpec


class Predicting:
    """Makes the `Predict` of a batch; `SpecError` for guidance or classes that the model does not have."""

    def __init__(self, model: TrainedModel, sampling: SamplingSpec, guidance: float):
        self.model, self.sampling, self.guidance = model, sampling, guidance
        self.scales = _scales_by_label(model, sampling)
        """Guidance of the labels that have one of their own."""
        self.largest = max([guidance, *self.scales.values()])
        if not all(0 <= value < float("inf") for value in (guidance, *self.scales.values())):
            raise SpecError(f"guidance {guidance:g} is not a number from 0 up")
        if model.worse is None:
            if sampling.autoguide:
                raise SpecError("the model was loaded without the weights that guide it: load(run, autoguide=…)")
            check_guidance(model.null_trained, [guidance, *self.scales.values()], "this model")
        self.repellency = Repellency.of(model, sampling.repel_radius) if sampling.repel else None
        if sampling.compile:
            _compile(model)

    def batch(self, labels: Sequence[int]) -> Predict:
        """Predicts clean images of these labels (B,)."""
        model, sampling, device = self.model, self.sampling, self.model.device
        y = torch.tensor(labels, dtype=torch.long, device=device)
        clip = sampling.clip and model.facts.codec is None
        plain = _network(model.denoiser, sampling)
        own = [self.scales.get(label, self.guidance) for label in labels]
        scales = own[0] if len(set(own)) == 1 else own
        if model.worse is None:
            network = guided(plain, scales, model.denoiser.null_label, device)
        else:
            network = autoguided(plain, _network(model.worse, sampling), scales, device)
        predict = predictor(network, model.process, y, clip)
        if sampling.guidance_interval and network is not plain:
            predict = within(sampling.guidance_interval, predict, predictor(plain, model.process, y, clip))
        return self.repellency.around(predict, labels) if self.repellency else predict


def check_sampling(model: TrainedModel, sampling: SamplingSpec, guidances: Iterable[float]) -> None:
    """`SpecError` for settings that this model cannot be sampled with, before anything is computed."""
    build.times(sampling, model.process)
    for guidance in guidances:
        Predicting(model, sampling, guidance)


def within(interval: tuple[float, float], inside: Predict, outside: Predict) -> Predict:
    """`inside` at noise levels of the interval, ends included, and `outside` at the others."""
    low, high = interval
    return lambda x, s: inside(x, s) if low <= s <= high else outside(x, s)


def _scales_by_label(model: TrainedModel, sampling: SamplingSpec) -> dict[int, float]:
    scales: dict[int, float] = {}
    if sampling.guidance_by_group:
        if model.run is None:
            raise SpecError("guidance by group needs a model that was loaded from a run")
        groups, of_group = Groups.thirds(Split.load(model.run.split).counts), dict(sampling.guidance_by_group)
        scales |= {label: of_group[name] for name, labels in groups if name in of_group for label in labels}
    names = model.facts.class_names
    for name, scale in sampling.guidance_by_class:
        label = position(names, name)
        if label < 0:
            raise SpecError(f"guidance by class: {unknown('class', name, names)}")
        scales[label] = scale
    return scales


def _network(denoiser: Denoiser, sampling: SamplingSpec) -> Network:
    return partial(_in_bf16, denoiser) if sampling.precision == "bf16-mixed" else denoiser.predict


def _in_bf16(denoiser: Denoiser, x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
    """The products inside the network in bf16; noise levels and images stay as they are."""
    with torch.autocast(x_s.device.type, torch.bfloat16):
        return denoiser.predict(x_s, s, y).to(x_s.dtype)


def _compile(model: TrainedModel) -> None:
    """Compile the networks once; later calls find them compiled."""
    from taildiff.engine import compile_in_place  # lightning-fabric

    for denoiser in (model.denoiser, model.worse):
        if denoiser is not None and denoiser._compiled_call_impl is None:
            compile_in_place(denoiser, model.device)
