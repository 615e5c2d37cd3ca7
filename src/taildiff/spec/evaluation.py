"""The settings of an evaluation."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from taildiff.spec.base import Spec
from taildiff.spec.metrics import CHEAP, RequestedMetric
from taildiff.spec.sampling import SamplingSpec


class EvalSpec(Spec):
    """Everything that the numbers of an evaluation depend on besides the weights and the data."""

    features: Annotated[str, Field(min_length=1)] = "domain"
    """The extractor; `domain`: a small classifier trained on the real images of the dataset."""
    metrics: Annotated[tuple[RequestedMetric, ...], Field(min_length=1)] = CHEAP
    """The metrics to measure."""
    guidance: tuple[Annotated[float, Field(ge=0)], ...] = (1.0, 1.5, 2.0)
    """The guidance scales to sample at; none for existing images."""
    per_class: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """Generated images per class; 0 only for existing images in unequal numbers."""
    seeds: tuple[int, ...] = ()
    """Sampling seeds to average over; default: that of `sampling` alone."""
    reference: Literal["train", "test", "all"] = "train"
    """The real images of the store to compare with (of the whole store, never of the long-tailed cut)."""
    k: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    """Neighbours in precision and recall."""
    utility: bool = False
    """Also train classifiers on real, completed and generated images and test them on held-out real ones."""
    intervals: Literal["all", "none"] = "all"
    """`none` leaves out every interval and bootstrap replicate: the same values in less time, and no verdicts."""
    sampling: SamplingSpec = SamplingSpec()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each must be given once; averaging the same images twice adds nothing")
        if self.guidance and self.per_class < 2:
            raise ValueError(f"per_class must be at least 2 (got {self.per_class})")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What names an evaluation: all fields, but for a newer one at its default, so that older names stay."""
        return self.model_dump(mode="json", exclude={"intervals"} if self.intervals == "all" else None)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds to sample with, at least one."""
        return self.seeds or (self.sampling.seed,)
