"""What a run is: frozen specs, from which the command line, `run.json` and the objects themselves are made.

The unions (`PathSpec`, `ModelSpec`) are the registry: `build.py` has one `match` a union. Nothing here imports torch,
so that `taildiff --help` and the reading of a run cost nothing.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from taildiff.errors import SpecError, unknown

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NoiseWeight = Literal["noise", "clean", "none"]


class Spec(BaseModel):
    """Base of all specs: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataFacts(Spec):
    """What a model needs to know of a store; kept in every weights file, so that sampling needs no data."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    channels: int
    """1 grey, 3 colour."""
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    """Images for training in each class, before any tail is cut."""
    name: str = ""
    """The source's name, for titles."""

    @property
    def classes(self) -> int:
        """Number of classes C; labels are 0..C-1 and C itself is the null label."""
        return len(self.class_names)


class DataSpec(Spec):
    """Which images are trained on and in which order; the store itself is named by `--data`."""

    tail: Literal["natural", "exp"] = "natural"
    """`natural`: every training image; `exp`: n_k = n_max ratio^(k/(C-1)) (Cao et al. 2019)."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Images in the rarest class over images in the commonest (used by `exp`)."""
    tail_seed: int = 0
    """Seed of the choice of images that stay."""
    min_per_class: Annotated[int, Field(ge=0)] = 0
    """Keep at least so many images of each class; 0 refuses a tail that leaves a class empty."""
    resample: Annotated[float, Field(gt=0, le=1)] | None = None
    """Batch resampling (CCUA): draw class of rank k with p ~ f^(k/(C-1)); 1 is balanced; None shuffles by epochs."""
    flip: bool = False
    """Mirror each image with probability one half; off for digits and letters."""


class DDPMSpec(Spec):
    """The DDPM process; the network predicts the noise."""

    kind: Literal["ddpm"] = "ddpm"
    timesteps: Annotated[int, Field(ge=2)] = 1000
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.02


class FlowSpec(Spec):
    """The linear flow x_s = (1-s) x + s eps; the network predicts the velocity eps - x."""

    kind: Literal["flow"] = "flow"
    times: Literal["uniform", "logit-normal"] = "uniform"
    """How training draws the noise level."""


PathSpec = Annotated[DDPMSpec | FlowSpec, Field(discriminator="kind")]


class UNetSpec(Spec):
    """The U-Net of DDPM (diffusers' UNet2DModel)."""

    kind: Literal["unet"] = "unet"
    channels: Annotated[tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...], Field(min_length=1)] = (16, 32, 64)
    """Channels of each level, from full resolution down; each level halves the size."""
    blocks: Annotated[int, Field(ge=1)] = 1
    """Residual blocks a level."""
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Levels (0 = full resolution) with self-attention; the middle block always has it."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        wrong = [level for level in self.attention if level >= len(self.channels)]
        if wrong:
            raise ValueError(f"attention at level {wrong[0]}, but there are levels 0..{len(self.channels) - 1}")
        return self


ModelSpec = UNetSpec


class LabelDropSpec(Spec):
    """Labels are dropped in training so that the model also learns the null label (classifier-free guidance)."""

    p: Fraction = 0.1
    """Probability of a drop."""
    policy: Literal["per_sample", "per_batch"] = "per_sample"
    """`per_batch`: one coin for the whole batch, as the DDPM family of long-tail releases does."""


class UCLSpec(Spec):
    """Unsupervised contrastive loss (CCUA): repels the features of the unconditional pass from each other."""

    weight: Weight = 0.0
    """alpha in the paper; 0 leaves the term out."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    view: Literal["null", "given"] = "null"
    """Whose features: of the pass under the null label (the paper), or under the given label."""
    tap: str = "middle"
    """Where in the network: for the U-Net `middle`, `down.0`.., `up.0`.. ."""
    noise_weight: NoiseWeight = "noise"
    """w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Annotated[float, Field(gt=0)] = 1.0
    """w(s) is raised to it."""
    gather: bool = False
    """Take negatives from all ranks, not only from the own part of the batch."""


class ALSpec(Spec):
    """Alignment loss (CCUA): draws the conditional and the unconditional prediction together where noise is large."""

    weight: Weight = 0.0
    """gamma in the paper; 0 leaves the term out."""
    noise_weight: NoiseWeight = "noise"
    """w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Annotated[float, Field(gt=0)] = 1.0
    """w(s) is raised to it."""


class ObjectiveSpec(Spec):
    """Denoising plus one block a term; a term of weight 0 is not there at all."""

    drop: LabelDropSpec = LabelDropSpec()
    ucl: UCLSpec = UCLSpec()
    al: ALSpec = ALSpec()


class OptimizerSpec(Spec):
    """Adam with decoupled weight decay (AdamW; equal to Adam at weight decay 0)."""

    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up; `cosine` ends at 0 at the last step."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest gradient norm; None does not clip."""


class EMASpec(Spec):
    """Exponential moving average of the weights: what is sampled from."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Its warm-up is min(decay, (1+n)/(10+n)) after n steps."""


class IntervalSpec(Spec):
    """How often things happen, in steps; 0 is never."""

    log: Annotated[int, Field(ge=1)] = 10
    """A line of metrics.jsonl."""
    samples: Annotated[int, Field(ge=0)] = 0
    """A grid of samples."""
    save: Annotated[int, Field(ge=0)] = 1000
    """A checkpoint (one is always written at the end and when the run is stopped)."""
    keep: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept; older ones are removed."""


class RunSpec(Spec):
    """Everything that decides the weights of a run, besides the store and the machine."""

    recipe: str = "custom"
    """The recipe it started from."""
    seed: int = 0
    steps: Annotated[int, Field(ge=1)] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images a step, over all devices."""
    devices: Annotated[int, Field(ge=1)] = 1
    """GPUs, or processes on a CPU."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    """torch.compile the training step (for GPUs)."""
    data: DataSpec = DataSpec()
    path: PathSpec = FlowSpec()
    model: ModelSpec = UNetSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    ema: EMASpec = EMASpec()
    every: IntervalSpec = IntervalSpec()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size {self.batch_size} does not divide over {self.devices} devices")
        if self.objective.ucl.weight > 0 and self.batch_size // self.devices < 2:
            raise ValueError("objective.ucl compares the samples of a batch: batch_size must be at least 2 a device")
        return self


class SamplingSpec(Spec):
    """How images are drawn from a trained model; the guidance is given beside it, because it is swept."""

    sampler: Literal["ancestral", "ddim", "euler", "heun"] = "heun"
    """ancestral: DDPM's own random steps; ddim = euler; heun: second order, two network calls a step."""
    steps: Annotated[int, Field(ge=1)] = 20
    seed: int = 0
    weights: Literal["ema", "raw"] = "ema"
    """The averaged weights, or those of the last step."""
    clip: bool = True
    """Keep each prediction of the clean image inside [-1, 1]."""


class EvalSpec(Spec):
    """One evaluation: everything that a number depends on besides the weights and the data."""

    features: Literal["domain"] = "domain"
    """`domain`: a small classifier trained on the real images of the dataset."""
    guidance: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (1.0, 1.5, 2.0)
    """All of these are sampled and judged."""
    per_class: Annotated[int, Field(ge=2)] = 100
    """Generated images of each class."""
    reference: Literal["train", "test", "all"] = "train"
    """Which real images of the store (always the uncut store, never the long-tailed cut)."""
    k: Annotated[int, Field(ge=1)] = 3
    """Neighbours in precision and recall."""
    sampling: SamplingSpec = SamplingSpec()


S = TypeVar("S", bound="Spec")


def parse(cls: type[S], values: Any, source: str = "") -> S:
    """Build a spec; raise `SpecError` with one line a problem and the nearest field named."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise SpecError(explain(error, source, field_names(cls))) from None


def explain(error: ValidationError, source: str = "", known: Sequence[str] = ()) -> str:
    """The report of pydantic as one line a problem; `known` are the names to suggest from."""
    where = f"{source}: " if source else ""
    return "\n".join(where + _explain(problem, known) for problem in error.errors())


def _explain(problem: Any, known: Sequence[str]) -> str:
    dotted = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return unknown("field", dotted, known)
    message = problem["msg"].removeprefix("Value error, ")
    return f"{dotted}: {message} (got {problem['input']!r})" if dotted else message


def field_names(cls: type[Spec], prefix: str = "") -> list[str]:
    """Dotted names of all leaf fields, in order; of a union, those of each member."""
    names: list[str] = []
    for name, info in cls.model_fields.items():
        members = _spec_types(info.annotation)
        for member in members:
            names += field_names(member, f"{prefix}{name}.")
        if not members:
            names.append(prefix + name)
    return names


def _spec_types(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [spec for part in getattr(annotation, "__args__", ()) for spec in _spec_types(part)]


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """A nested spec dump as dotted names: {"data.tail": "exp", …}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def read_json(path: Path) -> Any:
    """A JSON file's content; `SpecError` names the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SpecError(f"{path} is not readable JSON: {error}") from None
