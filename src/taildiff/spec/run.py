"""What a run is: frozen specs, from which the command line, `run.json` and the objects themselves are made.

The unions (`PathSpec`, `ModelSpec`) are the registry: `build.py` has one `match` a union. Nothing here imports torch,
so that `taildiff --help` and the reading of a run cost nothing.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Beta, Spec
from taildiff.spec.data import DataSpec
from taildiff.spec.model import ModelSpec, UNetSpec
from taildiff.spec.objective import (
    ObjectiveSpec,
)
from taildiff.spec.process import FlowSpec, PathSpec


class OptimizerSpec(Spec):
    """Adam with decoupled weight decay (AdamW; equal to Adam at weight decay 0)."""

    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.999)
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
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts that a device works its share of a batch off in, to save memory; one update a batch all the same."""
    devices: Annotated[int, Field(ge=1)] = 1
    """GPUs a node, or processes on a CPU."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """Machines; torchrun or SLURM starts them (docs/scaling.md)."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    """torch.compile the network (for GPUs)."""
    skip_nonfinite: Annotated[int, Field(ge=0)] = 0
    """Steps whose loss or gradient is not a number that are left out before training stops; may change later."""
    skip_spikes: Annotated[float, Field(gt=1)] | None = None
    """Leave out steps whose gradient norm is above so many times the median of the last 64; None trains on all."""
    data: DataSpec = DataSpec()
    path: PathSpec = FlowSpec()
    model: ModelSpec = UNetSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    ema: EMASpec = EMASpec()
    every: IntervalSpec = IntervalSpec()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        counts = [(self.devices, "devices"), (self.nodes, "nodes"), (self.accumulate, "parts (accumulate)")]
        over = " x ".join(f"{n} {what}" for n, what in counts if n > 1)
        if self.batch_size % (self.processes * self.accumulate):
            raise ValueError(f"batch_size {self.batch_size} does not divide over {over}")
        if self.objective.compares_samples and self.batch_size // (self.processes * self.accumulate) < 2:
            name = self.objective.compares_samples[0]
            raise ValueError(
                f"objective.{name} compares the samples of a batch: batch_size must be at least 2 a device"
                + (f" and part, so {2 * self.processes * self.accumulate} for {over}" if over else "")
            )
        return self

    @property
    def processes(self) -> int:
        """Over all nodes, one a device."""
        return self.devices * self.nodes
