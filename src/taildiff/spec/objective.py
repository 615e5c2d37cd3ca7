"""The specs of the objective: a target rule, denoising, and one block a term; formulas are in `taildiff.objectives`."""

from typing import Annotated, Literal

from pydantic import Field

from taildiff.spec.base import Fraction, NoiseWeight, Positive, Spec, Weight


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


class ALSpec(Spec):
    """Alignment loss (CCUA): draws the conditional and the unconditional prediction together where noise is large."""

    weight: Weight = 0.0
    """gamma in the paper; 0 leaves the term out."""
    noise_weight: NoiseWeight = "noise"
    """w(s): `noise` s, `clean` 1-s, `none` 1."""
    exponent: Positive = 1.0
    """w(s) is raised to it."""

    stop_gradient: bool = False
    """The unconditional side is a fixed target (the release: no)."""


class CBDMSpec(Spec):
    """CBDM: pulls predictions under the given and a drawn label together."""

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


class DispersiveSpec(Spec):
    """Dispersive loss: spreads the features of the conditional pass."""

    weight: Weight = 0.0
    """0.25 in the PyTorch release, 0.5 in the JAX one; 0 leaves the term out."""
    temperature: Positive = 1.0
    tap: str = "middle"
    """Where in the network."""
    gather: bool = False
    """Over the batch of all ranks."""


class DiffROPSpec(Spec):
    """DiffROP: pushes predictions of different classes apart."""

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


class CORALSpec(Spec):
    """CORAL: supervised contrast on a projection of the middle block."""

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
    def compares_samples(self) -> tuple[str, ...]:
        """The blocks that are on and need more than one sample on each device."""
        blocks = {name: getattr(self, name).weight for name in ("ucl", "dispersive", "coral")}
        blocks["diffrop"] = self.diffrop.weight if self.diffrop.form == "permuted" else 0
        return tuple(name for name, weight in blocks.items() if weight > 0)
