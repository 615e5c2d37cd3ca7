"""`taildiff.Model`: a trained network that people sample from."""

from html import escape
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taildiff.api.fields import StepFields
from taildiff.data.batches import to_images
from taildiff.errors import SpecError, unknown
from taildiff.log import Progress, silent
from taildiff.sampling.generate import Labels, TrainedModel, batches, check_images, class_labels, decoded
from taildiff.sampling.predicting import Predicting
from taildiff.spec import SamplingSpec, parse
from taildiff.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

Format = Literal["torch", "uint8", "pil"]
"""`torch`: float32 (N, C, H, W) in [0, 1] on the CPU; `uint8`: numpy (N, H, W, C); `pil`: a list of N images."""


class SampleOptions(StepFields, total=False):
    """Keyword arguments of `Model.sample` and `Model.trajectory`."""

    guidance: float
    seed: int
    batch_size: int | None
    progress: Progress


class Model(TrainedModel):
    """A trained network and everything needed to sample from it."""

    def __repr__(self) -> str:
        return f"Model({', '.join(self._facts().values())})"

    def _repr_html_(self) -> str:
        rows = self._facts() | {"class names": one_line(", ".join(self.facts.class_names))}
        cells = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
        return f"<table><caption>taildiff.Model</caption><tbody>{cells}</tbody></table>"

    def _facts(self) -> dict[str, str]:
        """What the model is, in words."""
        facts, codec = self.facts, self.facts.codec
        size = f"{facts.height}x{facts.width}" + (" from latents" if codec else "")
        return {
            "network": f"{self.spec.model.kind} with {sum(p.numel() for p in self.denoiser.parameters()):,} parameters",
            "process": self.spec.path.kind,
            "classes": f"{facts.classes} classes of {size}, {'colour' if facts.channels == 3 else 'grey'}",
            "training": f"step {self.step} of {one_line(self.spec.recipe)}",
            "guidance": "guided" if self.null_trained else "without guidance",
        }

    @overload
    def sample(
        self, labels: Labels, *, format: Literal["torch"] = "torch", **options: Unpack[SampleOptions]
    ) -> Tensor: ...
    @overload
    def sample(
        self, labels: Labels, *, format: Literal["uint8"], **options: Unpack[SampleOptions]
    ) -> NDArray[np.uint8]: ...
    @overload
    def sample(self, labels: Labels, *, format: Literal["pil"], **options: Unpack[SampleOptions]) -> "list[Image]": ...
    def sample(
        self,
        labels: Labels,
        *,
        guidance: float = 1.0,
        seed: int = 0,
        format: Format = "torch",
        batch_size: int | None = None,
        progress: Progress = silent,
        **steps: Unpack[StepFields],
    ) -> Any:
        """One image per label, in the order given.

        `sampler`, `steps` and the other fields that make the steps default to those of `SamplingSpec`.

        The same (seed, label, rank among the images of that label) gives the same image, whatever else is sampled.
        """
        spec = _sampling(steps, seed)
        return converted(self._stages(labels, spec, guidance, batch_size, progress, only_last=True)[0], format)

    @overload
    def trajectory(
        self, labels: Labels, *, format: Literal["torch"] = "torch", **options: Unpack[SampleOptions]
    ) -> list[Tensor]: ...
    @overload
    def trajectory(
        self, labels: Labels, *, format: Literal["uint8"], **options: Unpack[SampleOptions]
    ) -> list[NDArray[np.uint8]]: ...
    @overload
    def trajectory(
        self, labels: Labels, *, format: Literal["pil"], **options: Unpack[SampleOptions]
    ) -> "list[list[Image]]": ...
    def trajectory(
        self,
        labels: Labels,
        *,
        guidance: float = 1.0,
        seed: int = 0,
        format: Format = "torch",
        batch_size: int | None = None,
        progress: Progress = silent,
        **steps: Unpack[StepFields],
    ) -> Any:
        """The images of `sample` after each sampler step, from nearly pure noise to the result; one entry per step."""
        spec = _sampling(steps, seed)
        stages = self._stages(labels, spec, guidance, batch_size, progress, only_last=False)
        return [converted(stage, format) for stage in stages]

    def _stages(
        self,
        labels: Labels,
        sampling: SamplingSpec,
        guidance: float,
        batch_size: int | None,
        progress: Progress,
        only_last: bool,
    ) -> list[Tensor]:
        """Images (N, C, H, W) in [-1, 1] on the CPU after each step, or after the last one alone."""
        index = class_labels(labels, self.facts.class_names)
        none = torch.empty(0, self.facts.channels, self.facts.height, self.facts.width)
        stages: list[list[Tensor]] = [[] for _ in range(1 if only_last else sampling.steps)]
        for rows, steps in batches(Predicting(self, sampling, guidance), index, batch_size):
            for step, x in enumerate(steps, start=1):
                if only_last and step < sampling.steps:
                    continue
                x = decoded(self, x)
                if step == sampling.steps:
                    check_images(x, guidance)
                stages[0 if only_last else step - 1].append(x.cpu())
            progress(f"sampling at guidance {guidance:g}", rows.stop, len(index))
        return [torch.cat(stage or [none]) for stage in stages if stage or only_last]


def _sampling(steps: StepFields, seed: int) -> SamplingSpec:
    given = {name: value for name, value in steps.items() if value is not None}
    return parse(SamplingSpec, given | {"seed": seed})


def converted(x: Tensor, format: Format) -> "Tensor | NDArray[np.uint8] | list[Image]":
    """Images (N, C, H, W) in [-1, 1], in the requested format."""
    match format:
        case "torch":
            return x.float().add(1).div(2).clamp(0, 1)
        case "uint8":
            return to_images(x)
        case "pil":
            from PIL import Image

            return [Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in to_images(x)]
        case _:
            raise SpecError(unknown("format", format, ("torch", "uint8", "pil")))
