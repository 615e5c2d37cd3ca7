"""The objective's specs: a target rule, denoising, and one block per term; formulas are in `taildiff.objectives`."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from taildiff.spec.base import Fraction, NoiseWeight, Positive, Spec, Weight


class LabelDropSpec(Spec):
    """Labels are dropped in training so that the model also learns the null label (classifier-free guidance)."""

    p: Fraction = 0.1
    """Probability of a drop."""
    policy: Literal["per_sample", "per_batch"] = "per_sample"
    """`per_batch`: one coin for the whole batch, as the DDPM family of long-tail releases does."""


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


class UCLSpec(TermSpec):
    """Unsupervised contrastive loss (CCUA): repels the features of the unconditional pass from each other."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """alpha in the paper; 0 leaves the term out."""
    temperature: Positive = 0.1
    view: Literal["null", "given"] = "null"
    """Whose features: of the pass under the null label (the paper), or under the given label."""
    tap: str = "middle"
    """Where in the network: for the U-Net `middle`, `down.0`.., `up.0`.. ."""
    noise_weight: NoiseWeight = "noise"
    """w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """w(s) is raised to it."""
    pool: bool = False
    """Features averaged over positions, instead of flattened (the paper)."""
    negatives: Literal["all", "other-class", "same-class"] = "all"
    """Which samples of the batch repel each other."""
    noise_window: Positive | None = None
    """Only samples whose noise levels differ by at most this repel each other."""
    gather: bool = False
    """Take negatives from all ranks, not only from the own part of the batch."""


class ALSpec(TermSpec):
    """Alignment loss (CCUA): draws the conditional and the unconditional prediction together where noise is large."""

    compares_samples: ClassVar[bool] = False
    weight: Weight = 0.0
    """gamma in the paper; 0 leaves the term out."""
    noise_weight: NoiseWeight = "noise"
    """w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """w(s) is raised to it."""

    stop_gradient: bool = False
    """The unconditional side is a fixed target (the release: no)."""


class CBDMSpec(TermSpec):
    """CBDM: pulls predictions under the given and a drawn label together."""

    compares_samples: ClassVar[bool] = False
    weight: Weight = 0.0
    """tau in the paper (1); 0 leaves the term out."""
    law: Literal["frequency", "uniform"] = "frequency"
    """How the other label is drawn."""
    noise_weight: NoiseWeight = "noise"
    """w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """w(s) is raised to it."""


class TransferSpec(Spec):
    """OC / T2H: the regression target of another image of the batch."""

    mode: Literal["none", "t2h", "h2t", "full"] = "none"
    """Accept a drawn image whose class is at least as frequent, at most as frequent, or any; `none` is plain."""
    below: Fraction = 1.0
    """Only at noise levels up to it."""
    power: float = 0.0
    """The frequency variant: multiply weights by p_j^power and accept every draw; 0 is off."""
    gather: bool = False
    """Draw from the images of all ranks."""


class DispersiveSpec(TermSpec):
    """Dispersive loss: spreads the features of the conditional pass."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """0.25 in the PyTorch release, 0.5 in the JAX one; 0 leaves the term out."""
    temperature: Positive = 1.0
    tap: str = "middle"
    """Where in the network."""
    gather: bool = False
    """Over the batch of all ranks."""


class DiffROPSpec(TermSpec):
    """DiffROP: pushes predictions of different classes apart."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """0.1 in CCUA's release; 0 leaves the term out."""
    form: Literal["pairs", "permuted"] = "pairs"
    """`pairs`: one image under two labels (our reading of the paper); `permuted`: CCUA's released stand-in."""
    noise_weight: NoiseWeight = "clean"
    """w(s): `noise` s, `clean` 1-s (the release), `none` 1."""
    exponent: Positive = 1.0
    """w(s) is raised to it."""
    gather: bool = False
    """Permute the batch of all ranks (`permuted`; `pairs` compares no samples)."""

    @property
    def needs_pairs(self) -> bool:
        """Only the permuted form compares samples."""
        return self.form == "permuted"


class CORALSpec(TermSpec):
    """CORAL: supervised contrast on a projection of the middle block."""

    compares_samples: ClassVar[bool] = True
    weight: Weight = 0.0
    """0.5 in the paper; 0 leaves the term out."""
    temperature: Positive = 0.1
    weight_temperature: Positive = 0.3
    """tau_r in exp((1-s)/tau_r)."""
    scaling: Literal["paper", "release"] = "paper"
    """Weight a sample, or (release) mean weight of the batch times 0.1."""
    tap: str = "middle"
    """Where in the network."""
    head: Annotated[int, Field(ge=1)] = 128
    """Dimensions of the projection."""
    gather: bool = False
    """Compare with the samples of all ranks."""


class ObjectiveSpec(Spec):
    """A target rule, denoising, and one block a term; a term of weight 0 is not there at all."""

    drop: LabelDropSpec = LabelDropSpec()
    class_power: Annotated[float, Field(ge=0)] = 0.0
    """Denoising loss times n_y^-power, normalised over classes: 1 is inverse frequency, 0 none."""
    null_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Cheap CCUA: the pass without labels on this share of the batch; AL stays unbiased. 1 is the full method."""
    transfer: TransferSpec = TransferSpec()
    ucl: UCLSpec = UCLSpec()
    al: ALSpec = ALSpec()
    cbdm: CBDMSpec = CBDMSpec()
    dispersive: DispersiveSpec = DispersiveSpec()
    diffrop: DiffROPSpec = DiffROPSpec()
    coral: CORALSpec = CORALSpec()

    @property
    def terms(self) -> dict[str, TermSpec]:
        """The blocks of the enabled terms, by name."""
        return {name: block for name, block in self if isinstance(block, TermSpec) and block.weight > 0}

    @property
    def compares_samples(self) -> tuple[str, ...]:
        """The enabled terms that need more than one sample on each device."""
        return tuple(name for name, block in self.terms.items() if block.needs_pairs)
