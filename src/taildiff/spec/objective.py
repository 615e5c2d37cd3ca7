"""The objective's specs: a target rule, denoising, and one block per term; formulas are in `taildiff.objectives`."""

import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from taildiff.spec.base import Count, Fraction, NoiseWeight, Positive, Spec, Weight


class LabelDropSpec(Spec):
    """Label dropping in training, which teaches the null label (for classifier-free guidance)."""

    p: Fraction = 0.1
    """Probability of dropping a label; with shared null rows, the weight of their loss instead."""
    policy: Literal["per_sample", "per_batch"] = "per_sample"
    """One coin per sample, or per batch as in the DDPM family of long-tail releases."""


class TermSpec(Spec):
    """One term of the loss; weight 0 disables it. `build.term` makes the term."""

    compares_samples: ClassVar[bool]
    """Whether the term compares the samples of a batch, so that it needs at least two; every subclass must state it."""
    weight: Weight = 0.0

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "compares_samples" not in vars(cls):
            raise TypeError(f"{cls.__name__} must set compares_samples: True if its loss compares samples of the batch")

    @property
    def needs_pairs(self) -> bool:
        """Whether these settings compare the samples of a batch."""
        return self.compares_samples

    @property
    def trains_null(self) -> bool:
        """Whether these settings train the prediction under the null label towards an image, which guidance needs.

        Features of a null view alone do not, nor does pushing its prediction away from others.
        """
        return False


class UCLSpec(TermSpec):
    """UCL (CCUA): pushes the features of the unconditional pass apart."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """Weight of UCL, alpha in the paper; 0 disables the term."""
    temperature: Positive = 0.1
    """Temperature of the contrastive loss."""
    view: Literal["null", "given"] = "null"
    """The pass that gives the features: under the null label (the paper) or the given label."""
    tap: str = "middle"
    """Layer that gives the features. U-Net: middle, down.0 …, up.0 …; SiT: middle, block.0 …, depth.0.25."""
    noise_weight: NoiseWeight = "noise"
    """Weight by noise level w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """Power of w(s)."""
    pool: bool = False
    """Average features over positions instead of flattening them (the paper flattens)."""
    negatives: Literal["all", "other-class", "same-class"] = "all"
    """Which samples of the batch repel each other: all, or only those of other classes or the same class."""
    noise_window: Positive | None = None
    """Largest difference in noise level between samples that repel each other. [default: no limit]"""
    gather: bool = True
    """Take negatives from all ranks, not only from this rank's part of the batch (the release)."""


class ALSpec(TermSpec):
    """AL (CCUA): pulls the conditional and unconditional predictions together at high noise."""

    compares_samples: ClassVar[bool] = False
    weight: Weight = 0.0
    """Weight of AL, gamma in the paper; 0 disables the term."""
    noise_weight: NoiseWeight = "noise"
    """Weight by noise level w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """Power of w(s)."""
    stop_gradient: bool = False
    """Treat the unconditional prediction as a fixed target (off in the release)."""

    @property
    def trains_null(self) -> bool:
        """It is pulled towards the conditional prediction."""
        return not self.stop_gradient


class CBDMSpec(TermSpec):
    """CBDM: pulls the predictions under the given label and a random label together."""

    compares_samples: ClassVar[bool] = False
    weight: Weight = 0.0
    """Weight of CBDM, tau in the paper, which uses 1; 0 disables the term."""
    law: Literal["frequency", "uniform"] = "frequency"
    """Distribution of the random label: training frequency, or uniform."""
    noise_weight: NoiseWeight = "noise"
    """Weight by noise level w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """Power of w(s)."""


class TransferSpec(Spec):
    """OC / T2H: use the regression target of another image of the batch."""

    mode: Literal["none", "t2h", "h2t", "full"] = "none"
    """Which other images may give their target. Accept another image if its class is at least as frequent (t2h), at
    most as frequent (h2t) or always (full)."""
    below: Fraction = 1.0
    """Highest noise level at which targets are transferred."""
    power: Annotated[float, Field(ge=-1e30, le=1e30)] = 0.0
    """Frequency variant: multiply weights by p_j^power and accept every draw; 0 disables it."""
    gather: bool = True
    """Draw from the images of all ranks."""


class DispersiveSpec(TermSpec):
    """Dispersive loss: spreads the features of the conditional pass."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """Weight of the Dispersive loss, 0.25 in the PyTorch release, 0.5 in the JAX release; 0 disables the term."""
    temperature: Positive = 1.0
    """Temperature tau of the loss."""
    tap: str = "middle"
    """Layer that gives the features."""
    gather: bool = True
    """Spread the samples of all ranks together."""


class DiffROPSpec(TermSpec):
    """DiffROP: pushes predictions of different classes apart."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """Weight of DiffROP, 0.1 in CCUA's release; 0 disables the term."""
    form: Literal["pairs", "permuted"] = "pairs"
    """`pairs`: one image under two labels (our reading of the paper); `permuted`: the stand-in in CCUA's release."""
    noise_weight: NoiseWeight = "clean"
    """Weight by noise level w(s): `noise` s, `clean` 1-s (the release), `none` 1."""
    exponent: Positive = 1.0
    """Power of w(s)."""
    gather: bool = True
    """Permute the samples of all ranks together (`permuted` only)."""

    @property
    def needs_pairs(self) -> bool:
        """Only the permuted form compares samples."""
        return self.form == "permuted"


class CORALSpec(TermSpec):
    """CORAL: supervised contrastive loss on a projection of the middle block."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """Weight of CORAL, 0.5 in the paper; 0 disables the term."""
    temperature: Positive = 0.1
    """Temperature of the contrastive loss."""
    weight_temperature: Positive = 0.3
    """tau_r in exp((1-s)/tau_r)."""
    scaling: Literal["paper", "release"] = "paper"
    """Weight per sample (paper), or the mean weight of the batch times 0.1 (release)."""
    tap: str = "middle"
    """Layer that gives the features."""
    head: Count = 128
    """Dimension of the projection."""
    gather: bool = True
    """Compare with the samples of all ranks."""


class CustomSpec(TermSpec):
    """A term of your own: a class that derives from `Term`, in a module that can be imported."""

    compares_samples: ClassVar[bool] = False
    weight: Weight = 0.0
    """Weight of the term; 0 disables it."""
    term: str = ""
    """MODULE:CLASS; the module may lie in the current folder. Needed to train, not to sample or to evaluate. [default:
    no term]"""
    args: str = ""
    """Arguments of the class as JSON, such as {"tap": "middle"}. [default: none]"""

    @field_validator("term")
    @classmethod
    def _names_a_class(cls, value: str) -> str:
        module, colon, name = value.partition(":")
        if value and not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError("must be MODULE:CLASS, such as my_terms:Smooth")
        return value

    @field_validator("args", mode="before")
    @classmethod
    def _is_an_object(cls, value: Any) -> Any:
        """JSON text in one form, of JSON text or of a mapping."""
        try:
            values = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
            text = json.dumps(values, sort_keys=True, allow_nan=False) if values else ""
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f'must be a JSON object, such as {{"tap": "middle"}} ({error})') from None
        if not isinstance(values, dict):
            raise ValueError('must be a JSON object, such as {"tap": "middle"}')
        return text

    @model_validator(mode="after")
    def _has_a_term(self) -> Self:
        if self.weight > 0 and not self.term:
            raise ValueError("a weight needs a term: objective.custom.term MODULE:CLASS")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the class."""
        return json.loads(self.args) if self.args else {}


class ObjectiveSpec(Spec):
    """The training objective: denoising, a target rule, and one block per term; weight 0 disables a term."""

    drop: LabelDropSpec = LabelDropSpec()
    class_power: Weight = 0.0
    """Class weights n_y^-power of the denoising loss, normalised over classes: 1 is inverse frequency, 0 no weights."""
    null_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Cheap CCUA: share of the batch in the unconditional pass; AL stays unbiased. 1 is the full method. UCL and AL
    share the drawn rows if their noise weights and exponents are equal, and draw their own otherwise."""
    shared_null: Annotated[float, Field(gt=0, le=1)] | None = None
    """Shared null rows: share of the batch that passes once more without labels, for classifier-free training, AL and
    UCL at once. No label is dropped, and `drop.p` weighs the loss of these rows. [default: labels are dropped
    instead]"""
    shared_uniform: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Shared null rows are drawn by a mixture of the uniform law, with this share, and of AL's noise weight."""
    transfer: TransferSpec = TransferSpec()
    ucl: UCLSpec = UCLSpec()
    al: ALSpec = ALSpec()
    cbdm: CBDMSpec = CBDMSpec()
    dispersive: DispersiveSpec = DispersiveSpec()
    diffrop: DiffROPSpec = DiffROPSpec()
    coral: CORALSpec = CORALSpec()
    custom: CustomSpec = CustomSpec()

    @model_validator(mode="after")
    def _can_share_rows(self) -> Self:
        if self.shared_null is None:
            return self
        if self.null_fraction < 1:
            raise ValueError("shared_null and null_fraction exclude each other: both choose the rows without labels")
        if self.drop.policy == "per_batch":
            raise ValueError("shared_null drops no label: remove drop.policy per_batch (drop.p weighs the shared rows)")
        if others := [name for name in ("cbdm", "diffrop") if name in self.terms]:
            raise ValueError(
                f"shared_null drops no label and cannot be combined with {' and '.join(others)}: set weight 0 there, "
                "or use null_fraction instead of shared_null"
            )
        return self

    @property
    def terms(self) -> dict[str, TermSpec]:
        """The blocks of the enabled terms, by name."""
        return {name: block for name, block in self if isinstance(block, TermSpec) and block.weight > 0}

    @property
    def trains_null(self) -> bool:
        """Whether the prediction without a label is trained, by dropped labels or by a term."""
        return self.drop.p > 0 or any(block.trains_null for block in self.terms.values())

    @property
    def compares_samples(self) -> tuple[str, ...]:
        """The enabled terms that need more than one sample on each device."""
        return tuple(name for name, block in self.terms.items() if block.needs_pairs)

    @property
    def gathers(self) -> dict[str, bool]:
        """`gather` of the enabled terms that compare samples, and of the target rule, by name."""
        found = {name: getattr(self, name).gather for name in self.compares_samples}
        return found | (
            {"transfer": self.transfer.gather} if self.transfer.mode != "none" or self.transfer.power else {}
        )
