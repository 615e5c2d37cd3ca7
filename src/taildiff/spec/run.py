"""A run: everything that decides its weights, besides the store and the machine."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Beta, Count, CountOrZero, Positive, Spec, Weight
from taildiff.spec.data import DataSpec
from taildiff.spec.model import ModelSpec, UNetSpec
from taildiff.spec.objective import ObjectiveSpec
from taildiff.spec.process import FlowSpec, PathSpec


class OptimizerSpec(Spec):
    """The optimiser, learning rate and gradient clipping."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw: Adam with decoupled weight decay (equal to Adam at weight decay 0). muon: Muon for the matrices of a
    transformer's blocks and AdamW for the rest, with the same learning rate; needs torch 2.9."""
    lr: Positive = 1e-3
    """Learning rate."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of AdamW's averages of gradients and of their squares."""
    weight_decay: Weight = 0.0
    """Decoupled weight decay."""
    warmup: CountOrZero = 0
    """Steps over which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up; `cosine` falls to 0 at the last step."""
    clip: Positive | None = 1.0
    """Maximum gradient norm. [default: no clipping]"""


class EMASpec(Spec):
    """Exponential moving average of the weights, which sampling uses."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step; after n steps it is min(decay, (1+n)/(10+n))."""
    every: Count = 1
    """Steps between updates; the decay is then the product over these steps."""


class IntervalSpec(Spec):
    """Intervals in steps; 0 is never."""

    log: Count = 10
    """Steps between lines of metrics.jsonl."""
    samples: CountOrZero = 0
    """Steps between sample grids."""
    save: CountOrZero = 1000
    """Steps between checkpoints; one is always written when training ends or is stopped."""
    keep: Count = 2
    """Number of checkpoints to keep."""


class RunSpec(Spec):
    """Everything that decides the weights of a run, besides the store and the machine."""

    recipe: str = "custom"
    """Recipe that the run started from."""
    seed: int = 0
    """Seed of every random number of the run."""
    steps: Count = 1000
    """Training steps."""
    batch_size: Count = 64
    """Images per step, over all devices."""
    accumulate: Count = 1
    """Micro-batches per device (gradient accumulation)."""
    devices: Count = 1
    """GPUs per node, or processes on a CPU."""
    nodes: Count = 1
    """Machines, started by torchrun or SLURM (docs/scaling.md)."""
    precision: Literal["32-true", "bf16-mixed", "auto"] = "32-true"
    """float32 throughout, or bf16 products inside the network; auto: bf16 where the device has instructions for it."""
    compile: bool = False
    """Compile the network with torch.compile (for GPUs)."""
    skip_nonfinite: CountOrZero = 0
    """Non-finite steps tolerated before training stops; may change when a run is resumed."""
    skip_spikes: Annotated[float, Field(gt=1)] | None = None
    """Skip steps whose gradient norm is above this multiple of the median of the last 64. [default: no limit]"""
    data: DataSpec = DataSpec()
    path: PathSpec = FlowSpec()
    model: ModelSpec = UNetSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    ema: EMASpec = EMASpec()
    every: IntervalSpec = IntervalSpec()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.optimizer.name == "muon" and isinstance(self.model, UNetSpec):
            raise ValueError("optimizer.name muon is for transformers, and this network is a U-Net: use adamw")
        counts = [(self.devices, "devices"), (self.nodes, "nodes"), (self.accumulate, "micro-batches (accumulate)")]
        over = " x ".join(f"{n} {what}" for n, what in counts if n > 1)
        if self.batch_size % (self.processes * self.accumulate):
            raise ValueError(f"batch_size {self.batch_size} is not divisible by {over}")
        if self.objective.compares_samples and self.batch_size // (self.processes * self.accumulate) < 2:
            name = self.objective.compares_samples[0]
            raise ValueError(
                f"objective.{name} compares the samples of a batch: batch_size must be at least 2 per device"
                + (f" and micro-batch, so {2 * self.processes * self.accumulate} for {over}" if over else "")
            )
        return self

    @property
    def processes(self) -> int:
        """Processes over all nodes, one per device."""
        return self.devices * self.nodes

    @property
    def local(self) -> tuple[str, ...]:
        """The parts of the objective that compare only the samples of each process: several processes, no `gather`."""
        return tuple(name for name, gather in self.objective.gathers.items() if self.processes > 1 and not gather)
